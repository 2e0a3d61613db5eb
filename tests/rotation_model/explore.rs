//! Breadth first through every state, so that a broken invariant is shown by the shortest way to it.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{BuildHasherDefault, Hash, Hasher},
};

/// Something to explore.
pub trait Model {
    type State: Clone + Hash;
    type Move: Clone + Debug;

    fn start(&self) -> Vec<Self::State>;
    /// Every move from a state, and whether it is one that happens by itself where all is well.
    fn moves(&self, state: &Self::State) -> Vec<(Self::Move, Nature)>;
    /// The state after a move, or the sentence that an invariant is broken with.
    fn next(&self, state: &Self::State, by: &Self::Move) -> Result<Self::State, String>;
    /// Whether a state is one that every other must have a way to, by natural moves alone.
    fn is_home(&self, state: &Self::State) -> bool;
    fn show(&self, state: &Self::State) -> String;
}

/// Whether a move is to be expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nature {
    /// Where all is well, it happens.
    Natural,
    /// It may happen.
    Trouble,
}

/// What was found.
pub struct Explored {
    pub states: usize,
    pub moves: usize,
    pub depth: usize,
    pub broken: Option<Broken>,
}

/// An invariant that does not hold.
pub struct Broken {
    pub sentence: String,
    pub way: Vec<String>,
}

/// States are told apart by 64 bits: among a million of them two are taken for one with a chance of 1 in 10⁷. Each word is
/// multiplied into 128 bits that are folded, which is quick without optimisation too.
struct Print(u64);

impl Print {
    fn mix(&mut self, word: u64) {
        const ODD: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0 ^ word) * ODD;
        #[allow(clippy::cast_possible_truncation, reason = "both halves are used")]
        let folded = (product as u64) ^ ((product >> 64) as u64);
        self.0 = folded.rotate_left(23).wrapping_add(0x1656_67b1_9e37_79f9);
    }
}

impl Hasher for Print {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.mix(u64::from(*byte) + 0x100);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Fingerprints are random as they are.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 is hashed");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn fingerprint(state: &impl Hash) -> u64 {
    let mut print = Print(0);
    state.hash(&mut print);
    print.finish()
}

/// Visits every state, up to `limit` of them.
pub fn explore<M: Model>(model: &M, limit: usize) -> Explored {
    let mut seen: HashMap<u64, u32, BuildHasherDefault<AsItIs>> = HashMap::default();
    let mut came_from: Vec<Option<(u32, M::Move)>> = Vec::new();
    let mut home: Vec<bool> = Vec::new();
    // Natural moves, backwards: from where each state can be come to.
    let mut back: Vec<(u32, u32)> = Vec::new();
    let mut frontier: Vec<(u32, M::State)> = Vec::new();
    let (mut depth, mut moves) = (0, 0);

    for state in model.start() {
        let id = u32::try_from(came_from.len()).unwrap();
        if seen.insert(fingerprint(&state), id).is_none() {
            came_from.push(None);
            home.push(model.is_home(&state));
            frontier.push((id, state));
        }
    }
    let broken = |came_from: &[Option<(u32, M::Move)>], id: u32, last: Option<&M::Move>, sentence: String| Broken {
        sentence,
        way: way(model, came_from, id, last),
    };
    while !frontier.is_empty() {
        let mut next_frontier = Vec::new();
        for (id, state) in &frontier {
            for (by, nature) in model.moves(state) {
                moves += 1;
                let next = match model.next(state, &by) {
                    Ok(next) => next,
                    Err(sentence) => {
                        let broken = Some(broken(&came_from, *id, Some(&by), sentence));
                        return Explored { states: came_from.len(), moves, depth, broken };
                    }
                };
                let print = fingerprint(&next);
                let next_id = *seen.entry(print).or_insert_with(|| {
                    let next_id = u32::try_from(came_from.len()).unwrap();
                    came_from.push(Some((*id, by)));
                    home.push(model.is_home(&next));
                    next_frontier.push((next_id, next));
                    next_id
                });
                if nature == Nature::Natural && next_id != *id {
                    back.push((next_id, *id));
                }
            }
            assert!(came_from.len() <= limit, "more than {limit} states: the world is too large, or not finite");
        }
        frontier = next_frontier;
        depth += 1;
    }
    let lost = a_lost_one(home, back);
    let broken = lost.map(|id| broken(&came_from, id, None, "invariant 10: no way back to Idle".to_owned()));
    Explored { states: came_from.len(), moves, depth, broken }
}

/// A state that has no way home by natural moves.
fn a_lost_one(mut has_way: Vec<bool>, mut back: Vec<(u32, u32)>) -> Option<u32> {
    back.sort_unstable();
    let mut open: Vec<u32> = (0..u32::try_from(has_way.len()).unwrap()).filter(|id| has_way[*id as usize]).collect();
    while let Some(id) = open.pop() {
        let begin = back.partition_point(|(to, _)| *to < id);
        for (_, from) in back[begin..].iter().take_while(|(to, _)| *to == id) {
            if !has_way[*from as usize] {
                has_way[*from as usize] = true;
                open.push(*from);
            }
        }
    }
    // The last one found: there the machine is stuck, where the first ones only lead there.
    has_way.iter().rposition(|has| !has).map(|id| u32::try_from(id).unwrap())
}

/// The moves that lead to a state, and the state before the last.
fn way<M: Model>(model: &M, came_from: &[Option<(u32, M::Move)>], mut id: u32, last: Option<&M::Move>) -> Vec<String> {
    let mut moves: Vec<M::Move> = last.into_iter().cloned().collect();
    while let Some((from, by)) = &came_from[id as usize] {
        moves.push(by.clone());
        id = *from;
    }
    moves.reverse();
    let mut state = model.start()[id as usize].clone();
    let mut way = Vec::new();
    for by in moves {
        way.push(format!("{by:?}"));
        match model.next(&state, &by) {
            Ok(next) => state = next,
            Err(_) => break,
        }
    }
    way.push(model.show(&state));
    way
}
