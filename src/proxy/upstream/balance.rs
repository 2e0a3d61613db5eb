//! Which upstream of several: the less loaded of two drawn at random.
//!
//! Two choices keep the most loaded within log log n of the mean (Mitzenmacher 2001) at the price of two looks. Loads are the
//! worker's own: nothing is shared between workers.

/// Two different positions among `len` upstreams, or twice the only one. `dice` are uniformly distributed bits.
#[must_use]
pub const fn draw_two(len: usize, dice: u64) -> (usize, usize) {
    if len < 2 {
        return (0, 0);
    }
    let first = scale(dice as u32, len);
    let second = scale((dice >> 32) as u32, len - 1);
    (first, if second >= first { second + 1 } else { second })
}

/// Maps 32 random bits to `0..len` by multiplication (Lemire 2019), which has no division.
const fn scale(bits: u32, len: usize) -> usize {
    ((bits as u64 * len as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_different_ones_in_range(len in 2_usize..100, dice: u64) {
            let (a, b) = draw_two(len, dice);
            prop_assert!(a < len && b < len && a != b);
        }
    }

    #[test]
    fn one_upstream_is_drawn_twice() {
        assert_eq!(draw_two(1, u64::MAX), (0, 0));
    }
}
