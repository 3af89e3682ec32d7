//! Bars and sizes that several figures share.

use super::Bar::{self, AtMost};

/// How long newcomers are waited for, in milliseconds: no baseline has that.
pub(super) const SETTLE: f64 = 20.0;

pub(super) const ASSEMBLED: &[usize] = &[3, 5, 10, 20, 50];

pub(super) const ASSEMBLY: &[(usize, Bar)] = &[
    (3, AtMost(250.0)),
    (5, AtMost(300.0)),
    (10, AtMost(500.0)),
    (20, AtMost(1000.0)),
    (50, AtMost(3000.0)),
];

/// Sizes of a table.
pub(super) const MEGABYTES: &[usize] = &[1, 10, 40, 80];

pub(super) const PAUSE: &[(usize, Bar)] =
    &[(1, AtMost(50.0)), (10, AtMost(50.0)), (40, AtMost(50.0)), (80, AtMost(50.0))];

pub(super) const NO_UNCERTAIN: &[(usize, Bar)] =
    &[(1, AtMost(0.0)), (10, AtMost(0.0)), (40, AtMost(0.0)), (80, AtMost(0.0))];

pub(super) const MOVED: &[(usize, Bar)] = &[
    (3, AtMost(1.05)),
    (5, AtMost(1.05)),
    (10, AtMost(1.05)),
    (20, AtMost(1.05)),
    (50, AtMost(1.05)),
    (200, AtMost(1.3)),
];
