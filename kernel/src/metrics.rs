//! The kernel's own series. Protocols add nothing to count verbs: each passes through here.

use std::time::Duration;

use model::{Error, Meaning};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::hub::Hub;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    namespace: String,
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    verb: &'static str,
}

/// Series that verbs feed.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    verbs: Family<Verb, Counter>,
    seconds: Seconds,
    pub(crate) lost: Counter,
    /// Answers with what was here because an upstream failed.
    pub(crate) stale: Counter,
    fetches: Family<Fetch, Counter>,
    fetched: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fetch {
    outcome: &'static str,
}

#[derive(Debug)]
struct Seconds(Family<Named, Histogram>);

impl Default for Seconds {
    fn default() -> Self {
        // From a memory look-up to a gigabyte upload.
        let buckets = || Histogram::new([1e-5, 1e-4, 1e-3, 5e-3, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0]);
        Self(Family::new_with_constructor(buckets))
    }
}

impl Metrics {
    pub(crate) fn verb(&self, namespace: &str, verb: &'static str, error: Option<&Error>, took: Duration) {
        let outcome = error.map_or("ok", outcome);
        self.verbs.get_or_create(&Verb { namespace: namespace.to_owned(), verb, outcome }).inc();
        self.seconds.0.get_or_create(&Named { verb }).observe(took.as_secs_f64());
    }

    /// A fetch from an upstream has ended, with this many bytes.
    pub(crate) fn fetched(&self, done: Result<u64, &Error>) {
        let outcome = done.as_ref().map_or_else(|error| outcome(error), |_| "ok");
        self.fetches.get_or_create(&Fetch { outcome }).inc();
        self.fetched.inc_by(done.unwrap_or(0));
    }
}

fn outcome(error: &Error) -> &'static str {
    match error.meaning() {
        Meaning::Absent => "absent",
        Meaning::Incomplete(_) => "incomplete",
        Meaning::Unauthenticated => "unauthenticated",
        Meaning::Denied => "denied",
        Meaning::Malformed => "malformed",
        Meaning::OutOfRange => "out_of_range",
        Meaning::Unsupported => "unsupported",
        Meaning::Mismatch => "mismatch",
        Meaning::Conflict => "conflict",
        Meaning::TooBig => "too_big",
        Meaning::Full => "full",
        Meaning::Busy(_) => "busy",
        Meaning::Upstream => "upstream",
        Meaning::Lost => "lost",
        Meaning::Broken => "broken",
    }
}

impl Hub {
    /// Adds the kernel's series to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let metrics = self.metrics();
        registry.register("entrepot_verbs", "Verbs by namespace and outcome", metrics.verbs.clone());
        registry.register("entrepot_verb_seconds", "Seconds that verbs took", metrics.seconds.0.clone());
        registry.register("entrepot_lost_blobs", "Blobs found damaged", metrics.lost.clone());
        let stale = "Answers with what was here because an upstream failed";
        registry.register("entrepot_upstream_stale", stale, metrics.stale.clone());
        registry.register("entrepot_upstream_fetches", "Blobs fetched from upstreams", metrics.fetches.clone());
        registry.register("entrepot_upstream_fetched_bytes", "Bytes fetched from upstreams", metrics.fetched.clone());
        registry.register_collector(Box::new(Totals(self.clone())));
    }
}

/// Totals of the namespaces, read when somebody looks.
#[derive(Debug)]
struct Totals(Hub);

impl prometheus_client::collector::Collector for Totals {
    fn encode(&self, mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeMetric;
        use prometheus_client::metrics::MetricType;
        use std::sync::atomic::Ordering::Relaxed;
        let spaces: Vec<_> = self.0.spaces().collect();
        let limits = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        let series: [(&str, &str, Vec<i64>); 4] = [
            (
                "entrepot_namespace_used_bytes",
                "Bytes that a namespace holds",
                spaces.iter().map(|space| space.used.load(Relaxed)).collect(),
            ),
            (
                "entrepot_namespace_limit_bytes",
                "Bytes that a namespace may hold",
                spaces.iter().map(|space| limits(space.limit.load(Relaxed))).collect(),
            ),
            (
                "entrepot_namespace_reserved_bytes",
                "Bytes that uploads have reserved",
                spaces.iter().map(|space| limits(space.reserved.load(Relaxed))).collect(),
            ),
            (
                "entrepot_namespace_lost_blobs",
                "Blobs of a namespace that are damaged and not replaced yet",
                spaces.iter().map(|space| space.lost.load(Relaxed)).collect(),
            ),
        ];
        for (name, help, values) in series {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (space, value) in spaces.iter().zip(values) {
                let labels = [("namespace", space.name.to_string())];
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
