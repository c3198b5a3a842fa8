"""Exact matches of a made-up scene of points, for tests of estimators."""

import numpy as np

K0 = np.array([[700.0, 0, 310], [0, 720, 250], [0, 0, 1]])
K1 = np.array([[500.0, 0, 330], [0, 480, 220], [0, 0, 1]])


def turn_y(angle_deg):
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def pose_0to1(angle_deg=10.0):
    T_0to1 = np.eye(4)
    T_0to1[:3, :3] = turn_y(angle_deg)
    T_0to1[:3, 3] = [-1.0, 0.2, 0.1]
    return T_0to1


def project(points, K):
    image = points @ K.T
    return image[:, :2] / image[:, 2:]


def exact_matches(T_0to1, count=100, seed=0):
    rng = np.random.default_rng(seed)
    points0 = rng.uniform([-2, -2, 4], [2, 2, 9], (count, 3))
    points1 = points0 @ T_0to1[:3, :3].T + T_0to1[:3, 3]
    return project(points0, K0), project(points1, K1)
