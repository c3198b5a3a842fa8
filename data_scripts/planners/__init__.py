"""From the files of a data set, as it is published, to a plan of what to convert: one set a file."""
