//! Upstream registries: their part of the configuration, and what of them is measured.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use upstream_oci::{Entry, Registries};

/// Where nothing is configured: every public registry. Private networks are never reached without being asked for.
pub(crate) fn everywhere() -> Vec<Entry> {
    vec![Entry { host: "*".into(), ..Entry::default() }]
}

/// Whether that is so.
pub(crate) fn is_everywhere(entries: &[Entry]) -> bool {
    matches!(entries, [one] if one.host == "*" && one.ca.is_none())
}

/// Puts what upstreams tell and how they answer beside the other series.
pub(crate) fn register(registries: &Arc<Registries>, registry: &mut Registry) {
    registry.register_collector(Box::new(Series(Arc::clone(registries))));
}

/// Read when somebody looks.
#[derive(Debug)]
struct Series(Arc<Registries>);

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (name, help) = ("entrepot_upstream_requests", "Requests to upstream registries by outcome");
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (host, outcome, count) in self.0.requests() {
            let labels = [("host", host), ("outcome", outcome.as_str().to_owned())];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        let limits = self.0.limits();
        for (name, help, remaining) in [
            ("entrepot_upstream_rate_limit", "Requests that an upstream allows in its window", false),
            ("entrepot_upstream_rate_remaining", "Requests that an upstream still allows", true),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for limit in &limits {
                let value = if remaining { limit.remaining } else { limit.limit };
                ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
                    .encode(metric.encode_family(&[("host", limit.host.clone())])?)?;
            }
        }
        Ok(())
    }
}
