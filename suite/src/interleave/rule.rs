//! The rules, each of which the laws need.

/// A guard or an order that the kernel keeps. Documents cite these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Law 5: every write goes to a location that was never used before.
    FreshLocations,
    /// Law 1: bytes are durable before the claim is applied.
    BytesBeforeRow,
    /// Law 2: a client hears "stored" only after the claim was applied.
    RowBeforeAnswer,
    /// Law 4: bytes are removed only after `Forget` removed their row.
    RowBeforeBytes,
    /// `Open` counts a child only where its lease is there and its bytes are Here.
    ChildrenAreLeased,
    /// `Open` is refused where the node itself has no lease: nobody would ever lower what it counted.
    NodeIsLeased,
    /// `Open` leaves a part as it is that was counted before: two binds of one node count its children once.
    PartsCountOnce,
    /// The last part opens a node only if all its other parts are counted in that moment: a reaper that closed
    /// half of the node in between makes the bind walk again.
    PartsTogether,
    /// `Bind` asks in its own apply whether the root's node is open: what the walk saw may be over.
    RootIsOpen,
    /// `Bind` and `Open` find a lost blob absent, and a walk does not stop at open nodes while the namespace has
    /// lost blobs.
    LostIsAbsent,
    /// `Reap` refuses a lease that something holds.
    ReapUnheld,
    /// `Reap` refuses a lease that was used after the horizon.
    ReapIdle,
    /// A `Reap` in several changes closes the node in the first of them, before it lowers any child.
    CloseBeforeLower,
    /// `Forget` removes a row only while it is doomed and nobody leases it.
    ForgetUnleased,
    /// `Forget` removes a row only while it is at the place that `Doom` told. Without it nothing is lost, but the
    /// place that the row had in truth becomes an orphan.
    ForgetAtPlace,
    /// `Forget` says which doom it belongs to, and is refused if the blob was doomed again since: else the wait for
    /// readers that began before the first doom does for those that began before the second.
    ForgetThisDoom,
    /// `Lose` marks a row only while it is at the place that was found damaged.
    LoseAtPlace,
    /// A reader that finds nothing at a location looks the row up once more before it says Lost.
    LookOnceMore,
    /// The orphan scan spares locations of live epochs: of other processes, and its own that are in flight.
    ScanSparesFlight,
    /// The orphan scan learns which epochs are dead and what is in flight before it asks for rows: else a claim
    /// that is applied between the two questions is seen by neither.
    FlightBeforeRow,
    /// A location leaves the in-flight set only after its claim was answered.
    FlightUntilClaimed,
    /// A claim whose epoch was declared dead is refused in its own transaction.
    DeadClaimRefused,
    /// The reaper marks a blob in memory before it applies `Reap`; a marked entry of the existence cache is not
    /// trusted, and the entry goes before the mark.
    MarkBeforeReap,
    /// Whoever applies `Lose` marks the blob first, just as the reaper.
    MarkBeforeLose,
    /// Marks are counted: a reaper and a reader may have marked the same blob, and one of them ends first.
    MarksAreCounted,
    /// `has` fills the cache only if no entry was dropped since before it asked the catalog.
    FillIfUnchanged,
    /// A commit fills the cache only if no entry was dropped since before it applied its claim.
    CommitFillsIfUnchanged,
    /// `has` applies its touch before it looks the lease up, where the cache does not answer: either the touch
    /// stops the reaper or the look-up sees its work.
    TouchBeforeLook,
    /// The reaper, once it has marked a blob, spares it if a touch of it rests in memory.
    RestingTouchSpares,
    /// A touch rests apart from the cache's entry: neither a full cache that drops the entry nor `Lose` drops it.
    TouchOutlivesEntry,
    /// A touch rests until the catalog has it: the flush takes it out of memory only after it was applied.
    TouchRestsUntilApplied,
    /// After a start all stamps count as younger by the time that touches may rest in memory.
    YoungerAfterStart,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 32] = [
        Rule::FreshLocations,
        Rule::BytesBeforeRow,
        Rule::RowBeforeAnswer,
        Rule::RowBeforeBytes,
        Rule::ChildrenAreLeased,
        Rule::NodeIsLeased,
        Rule::PartsCountOnce,
        Rule::PartsTogether,
        Rule::RootIsOpen,
        Rule::LostIsAbsent,
        Rule::ReapUnheld,
        Rule::ReapIdle,
        Rule::CloseBeforeLower,
        Rule::ForgetUnleased,
        Rule::ForgetAtPlace,
        Rule::ForgetThisDoom,
        Rule::LoseAtPlace,
        Rule::LookOnceMore,
        Rule::ScanSparesFlight,
        Rule::FlightBeforeRow,
        Rule::FlightUntilClaimed,
        Rule::DeadClaimRefused,
        Rule::MarkBeforeReap,
        Rule::MarkBeforeLose,
        Rule::MarksAreCounted,
        Rule::FillIfUnchanged,
        Rule::CommitFillsIfUnchanged,
        Rule::TouchBeforeLook,
        Rule::RestingTouchSpares,
        Rule::TouchOutlivesEntry,
        Rule::TouchRestsUntilApplied,
        Rule::YoungerAfterStart,
    ];
}

/// The rules that hold in a search: all, or all but one.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    dropped: Option<Rule>,
}

impl Rules {
    /// As the kernel has them.
    pub const ALL: Rules = Rules { dropped: None };

    /// To see that the search finds what the rule prevents.
    pub const fn without(rule: Rule) -> Rules {
        Rules { dropped: Some(rule) }
    }

    /// Whether a rule is kept.
    pub fn keep(self, rule: Rule) -> bool {
        self.dropped != Some(rule)
    }
}
