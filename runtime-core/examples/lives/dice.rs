//! Chance that can be repeated: every life draws from its own numbers, whatever the threads beside it do.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(crate) struct Dice(u64);

impl Dice {
    /// The dice of one life of a run.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True this many times of a hundred.
    pub(crate) fn percent(&mut self, times: u64) -> bool {
        self.below(100) < times
    }

    pub(crate) fn choose<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> &'a T {
        let place = self.below(among.len() as u64);
        among[usize::try_from(place).unwrap_or(0)]
    }

    /// Some of them, in their order.
    pub(crate) fn some<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> Vec<&'a T> {
        among.iter().filter(|_| self.percent(50)).copied().collect()
    }
}
