"""Triton kernels, a file for each idea; importing a file of kernels imports triton.

Sparse ops (`attention_ops.triton_backend` calls them):
    fine_forward          a block of F queries and its F * K candidates: message, lse, selection
    fine_backward         gradients of query and parent score; of key and value by atomic sums
    fine_backward_by_key  those of key and value in a fixed order, from the lists of inverse_index
    inverse_index         which blocks selected each parent
    candidates            tokens of the candidates, softmax in each parent's group (variant A)
    coarse_forward        all keys: message, lse, and the selection without writing scores
    coarse_backward       gradients of queries, and of keys and values, without atomic sums
    chosen_bits           which tokens a query selected, one bit each
    selection             exact top-K of a tile in registers, ties to the lower candidate
    tiles                 loads, stores and products of rows
    launch                what the kernels hold, paddings, warps and tile sizes; no triton
    aot                   compiles everything without a GPU: registers, spills, instructions
    aot_cases             what it compiles
    aot_record            what it keeps and prints; no triton
Samples (`attention_ops.sampling_triton` calls them):
    sampling              weighted bilinear samples of several maps
"""
