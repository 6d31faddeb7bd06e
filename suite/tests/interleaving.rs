//! The lifetime rules, tried in every order; and for each rule, what breaks without it.

use suite::interleave::Blob::{Left, Parent, Right};
use suite::interleave::Role::{
    Bind, Crash, Damage, Evict, Flush, Has, Read, Reap, Remove, RemovePatiently, Scan, Share, Stream, TakeOver, Tick,
    Unbind, Upload,
};
use suite::interleave::{Plot, Role, Rule, Rules, World, explore};

/// What clients and tasks of one process do, and its crash.
const LIFE: [Role; 17] = [
    Upload(Parent),
    Upload(Left),
    Share(Left),
    Bind(Parent),
    Bind(Left),
    Unbind,
    Reap(Parent),
    Reap(Left),
    Remove(Left),
    Scan,
    Read(Left),
    Has(Left),
    Flush(Left),
    Evict(Left),
    Damage(Left),
    Tick,
    Crash,
];

/// What two processes may do at one time. `Has` is not among them: its cache is right in one process only.
const TWO_PROCESSES: [Role; 13] = [
    Upload(Parent),
    Upload(Left),
    Share(Left),
    Bind(Parent),
    Unbind,
    Reap(Parent),
    Reap(Left),
    Remove(Left),
    Scan,
    Read(Left),
    Damage(Left),
    Tick,
    TakeOver,
];

/// A blob is doomed, comes back, is read, and is doomed again.
const TWICE_DOOMED: [Role; 6] =
    [RemovePatiently(Left), RemovePatiently(Left), Share(Left), Stream(Left), Reap(Left), Tick];

fn starts() -> [World; 5] {
    [World::empty(), World::idle(), World::open(), World::bound(), World::bare()]
}

fn holds(start: &World, plot: &Plot) {
    let begun = std::time::Instant::now();
    match explore(start, plot, Rules::ALL) {
        Ok(states) => println!("{states} states in {:?}", begun.elapsed()),
        Err(violation) => panic!("{plot:?}\n{violation}"),
    }
}

fn any_four(menu: &[Role]) {
    for start in starts() {
        holds(&start, &Plot::Any { menu: menu.to_vec(), acts: 4, abreast: 3 });
    }
}

#[test]
fn any_four_acts_of_one_process_keep_the_laws() {
    any_four(&LIFE);
}

#[test]
fn any_four_acts_of_two_processes_keep_the_laws() {
    any_four(&TWO_PROCESSES);
}

/// The protocol of the existence cache is one of one process. Where another may reap, `has` has to ask the catalog.
#[test]
fn the_existence_cache_lies_where_two_processes_run() {
    let cast = vec![Has(Left), Upload(Left), Reap(Left), TakeOver, Tick];
    let lie = explore(&World::idle(), &Plot::Cast(cast), Rules::ALL).expect_err("nobody tells the other's cache");
    println!("{lie}");
}

#[test]
fn longer_stories_keep_the_laws() {
    let stories: [(World, &[Role]); 9] = [
        (World::empty(), &[Upload(Parent), Upload(Left), Upload(Right), Bind(Parent), Scan, Crash]),
        (World::open(), &[Bind(Parent), Reap(Parent), Reap(Left), Remove(Left), Upload(Left), Tick]),
        (World::idle(), &[Bind(Parent), Bind(Parent), Reap(Parent), Reap(Left), Unbind, Bind(Left)]),
        (World::bound(), &[Unbind, Reap(Parent), Remove(Parent), Upload(Parent), Bind(Parent), Reap(Right)]),
        (World::bound(), &[Damage(Left), Read(Left), Read(Left), Upload(Left), Has(Left), Scan, Bind(Parent)]),
        (World::bare(), &[Remove(Left), Remove(Left), Upload(Left), Reap(Left), Tick, Scan]),
        (World::bare(), &[Upload(Left), TakeOver, Scan, Remove(Left), Upload(Left), Reap(Left), Tick]),
        (World::bare(), &TWICE_DOOMED),
        (World::idle(), &[Has(Left), Has(Left), Reap(Left), Flush(Left), Evict(Left), Upload(Left), Tick]),
    ];
    for (start, cast) in stories {
        holds(&start, &Plot::Cast(cast.to_vec()));
    }
}

/// For each rule, who has to meet whom so that the law breaks where the rule is dropped.
fn counter_examples() -> Vec<(Rule, World, &'static [Role])> {
    vec![
        (Rule::FreshLocations, World::idle(), &[Upload(Left)]),
        (Rule::BytesBeforeRow, World::empty(), &[Upload(Left)]),
        (Rule::RowBeforeAnswer, World::empty(), &[Upload(Left)]),
        (Rule::RowBeforeBytes, World::bare(), &[Remove(Left), Share(Left)]),
        (Rule::ChildrenAreLeased, World::idle(), &[Bind(Parent), Reap(Right)]),
        (Rule::NodeIsLeased, World::idle(), &[Bind(Parent), Reap(Parent)]),
        (Rule::PartsCountOnce, World::idle(), &[Bind(Parent), Bind(Parent)]),
        (Rule::PartsTogether, World::idle(), &[Bind(Parent), Reap(Parent)]),
        (Rule::RootIsOpen, World::idle(), &[Bind(Parent), Reap(Parent)]),
        (Rule::LostIsAbsent, World::bound(), &[Bind(Parent), Damage(Left), Read(Left)]),
        (Rule::ReapUnheld, World::idle(), &[Bind(Left)]),
        (Rule::ReapIdle, World::idle(), &[Reap(Left), Share(Left)]),
        (Rule::CloseBeforeLower, World::idle(), &[Bind(Parent), Reap(Parent)]),
        (Rule::ForgetUnleased, World::bare(), &[Remove(Left), Share(Left)]),
        (
            Rule::ForgetAtPlace,
            World::bare(),
            &[Remove(Left), Remove(Left), Upload(Left), Reap(Left), Remove(Left), Tick],
        ),
        (Rule::ForgetThisDoom, World::bare(), &TWICE_DOOMED),
        (Rule::LoseAtPlace, World::idle(), &[Damage(Left), Read(Left), Read(Left), Upload(Left)]),
        (Rule::LookOnceMore, World::idle(), &[Read(Left), Reap(Left), Remove(Left)]),
        (Rule::ScanSparesFlight, World::empty(), &[Upload(Left), Scan]),
        (Rule::FlightBeforeRow, World::empty(), &[Upload(Left), Scan]),
        (Rule::FlightUntilClaimed, World::empty(), &[Upload(Left), Scan]),
        (Rule::DeadClaimRefused, World::empty(), &[Upload(Left), TakeOver, Scan]),
        (Rule::MarkBeforeReap, World::idle(), &[Reap(Left), Has(Left)]),
        (Rule::MarkBeforeLose, World::idle(), &[Damage(Left), Read(Left), Has(Left)]),
        (Rule::MarksAreCounted, World::idle(), &[Reap(Left), Reap(Left), Has(Left)]),
        (Rule::FillIfUnchanged, World::idle(), &[Reap(Left), Has(Left), Has(Left), Tick]),
        (Rule::CommitFillsIfUnchanged, World::empty(), &[Upload(Left), Reap(Left), Has(Left), Tick]),
        (Rule::TouchBeforeLook, World::idle(), &[Evict(Left), Has(Left), Reap(Left)]),
        (Rule::RestingTouchSpares, World::idle(), &[Has(Left), Reap(Left)]),
        (Rule::TouchOutlivesEntry, World::idle(), &[Has(Left), Evict(Left), Reap(Left)]),
        (Rule::TouchRestsUntilApplied, World::idle(), &[Has(Left), Flush(Left), Reap(Left)]),
        (Rule::YoungerAfterStart, World::idle(), &[Has(Left), Crash, Reap(Left)]),
    ]
}

#[test]
fn every_rule_is_needed() {
    for (rule, start, cast) in counter_examples() {
        let plot = Plot::Cast(cast.to_vec());
        holds(&start, &plot);
        match explore(&start, &plot, Rules::without(rule)) {
            Ok(states) => panic!("{rule:?} may be dropped: {states} states of {cast:?} keep the laws"),
            Err(violation) => println!("without {rule:?}: {violation}"),
        }
    }
    for rule in Rule::ALL {
        assert!(counter_examples().iter().any(|(shown, ..)| *shown == rule), "{rule:?} has no counter-example");
    }
}
