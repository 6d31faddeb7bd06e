//! The search: breadth first, so that the first violation has a shortest trace; each state once.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::Rules;
use super::act::{self, Role};
use super::law;
use super::world::World;

/// What may happen in a search.
#[derive(Clone, Debug)]
pub enum Plot {
    /// Each of these, at most once each.
    Cast(Vec<Role>),
    /// Any of these, as often as wanted, so many in all and so many at once.
    Any {
        /// The roles.
        menu: Vec<Role>,
        /// How many begin.
        acts: u8,
        /// How many run at one time.
        abreast: usize,
    },
}

/// A law was broken, and how.
#[derive(Debug)]
pub struct Violation {
    /// Which law.
    pub law: &'static str,
    /// The steps that lead to it, none of which can be left out.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.law)?;
        self.trace.iter().enumerate().try_for_each(|(step, did)| writeln!(f, "  {:2}. {did}", step + 1))
    }
}

/// Roles that may still begin: indices into the plot's list for a cast, else a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Left {
    Cast(Vec<u8>),
    Any(u8),
}

type State = (World, Left);

struct Reached {
    state: Rc<State>,
    from: usize,
    role: Option<Role>,
    did: &'static str,
}

/// A plain multiplicative hash: in a debug build the search would spend most of its time in a good one, and states
/// that meet under one hash are compared anyway.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Search {
    roles: Vec<Role>,
    abreast: usize,
    rules: Rules,
    hash: BuildHasherDefault<Mix>,
    /// States by their hash, as indices into `reached`: a state is large, and is hashed once this way.
    seen: HashMap<u64, Vec<usize>>,
    reached: Vec<Reached>,
}

/// Looks at every state that a plot can lead to. Returns how many there are.
///
/// # Errors
/// The first violation, by one of the shortest ways to it.
pub fn explore(start: &World, plot: &Plot, rules: Rules) -> Result<usize, Violation> {
    let (roles, left, abreast) = match plot {
        Plot::Cast(roles) => (roles.clone(), Left::Cast((0..).take(roles.len()).collect()), roles.len()),
        Plot::Any { menu, acts, abreast } => (menu.clone(), Left::Any(*acts), *abreast),
    };
    let mut search = Search {
        roles,
        abreast,
        rules,
        hash: BuildHasherDefault::default(),
        seen: HashMap::new(),
        reached: Vec::new(),
    };
    search.reach((start.clone(), left), 0, None, "")?;
    let mut next = 0;
    while next < search.reached.len() {
        search.expand(next)?;
        next += 1;
    }
    Ok(search.reached.len())
}

impl Search {
    fn expand(&mut self, from: usize) -> Result<(), Violation> {
        let state = Rc::clone(&self.reached[from].state);
        let (world, left) = &*state;
        for index in (0..world.acts.len()).filter(|index| act::may_advance(world, &world.acts[*index])) {
            let (role, mut world) = (world.acts[index].role, world.clone());
            let did = act::advance(&mut world, index, self.rules);
            self.reach((world, left.clone()), from, Some(role), did)?;
        }
        if world.acts.len() >= self.abreast {
            return Ok(());
        }
        for (role, left) in self.beginnings(left) {
            let mut world = world.clone();
            let did = act::begin(&mut world, role, self.rules);
            self.reach((world, left), from, Some(role), did)?;
        }
        Ok(())
    }

    fn beginnings(&self, left: &Left) -> Vec<(Role, Left)> {
        match left {
            Left::Any(0) => Vec::new(),
            Left::Any(acts) => self.roles.iter().map(|role| (*role, Left::Any(acts - 1))).collect(),
            Left::Cast(list) => {
                let without = |index: &u8| list.iter().copied().filter(|other| other != index).collect();
                list.iter().map(|index| (self.roles[usize::from(*index)], Left::Cast(without(index)))).collect()
            }
        }
    }

    fn reach(&mut self, state: State, from: usize, role: Option<Role>, did: &'static str) -> Result<(), Violation> {
        let alike = self.seen.entry(self.hash.hash_one(&state)).or_default();
        if alike.iter().any(|index| *self.reached[*index].state == state) {
            return Ok(());
        }
        alike.push(self.reached.len());
        let at_rest = || law::broken_at_rest(&state.0, self.rules).filter(|_| state.0.acts.is_empty());
        let law = law::broken(&state.0).or_else(at_rest);
        self.reached.push(Reached { state: Rc::new(state), from, role, did });
        law.map_or(Ok(()), |law| Err(Violation { law, trace: self.trace() }))
    }

    /// The way to the state that was reached last.
    fn trace(&self) -> Vec<String> {
        let mut trace = Vec::new();
        let mut at = self.reached.len() - 1;
        while let Some(role) = self.reached[at].role {
            trace.push(format!("{role:?} {}", self.reached[at].did));
            at = self.reached[at].from;
        }
        trace.reverse();
        trace
    }
}
