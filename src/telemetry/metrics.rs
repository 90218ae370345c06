//! What is counted and measured while the gateway works, in the words of Prometheus.
//!
//! The registry is a value, so that tests run many gateways at once. Labels are routes as templates and
//! names of closed lists, never ids or addresses: the number of time series does not grow with use.
//! What can be read off the gateway's state when somebody asks is not counted here.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// How the names of all metrics begin, but those of the process, which have names of their own.
pub const PREFIX: &str = "ghoststream";

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub method: &'static str,
    /// The route's template; `none` where there is no route.
    pub route: String,
    pub status: u16,
}

/// Which route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    pub route: String,
}

/// What a process of ffmpeg's is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProcessLabels {
    pub kind: &'static str,
}

/// How such a process ended: `done`, `stopped` by the gateway, `failed`, or `killed` by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ExitLabels {
    pub kind: &'static str,
    pub reason: &'static str,
}

/// Where a segment came from: `cache` or `encoder`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SegmentLabels {
    pub from: &'static str,
}

/// For what something waited: `stream`, `query` or `job`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueLabels {
    pub queue: &'static str,
}

/// The ends of queued jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabels {
    pub kind: &'static str,
    pub state: &'static str,
}

/// Upper ends of buckets, seconds: what is kept takes milliseconds, an encoder seconds, a queue minutes.
const REQUEST_SECONDS: [f64; 11] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];
const SEGMENT_SECONDS: [f64; 12] = [
    0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 60.0,
];
const QUEUE_SECONDS: [f64; 10] = [
    0.001, 0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0,
];

fn request_histogram() -> Histogram {
    Histogram::new(REQUEST_SECONDS)
}

fn segment_histogram() -> Histogram {
    Histogram::new(SEGMENT_SECONDS)
}

fn queue_histogram() -> Histogram {
    Histogram::new(QUEUE_SECONDS)
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All of them; cheap to clone. Counting takes a read lock and an atomic addition.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    pub requests: Family<RequestLabels, Counter>,
    /// From the request's head to the answer's.
    pub request_duration: Histograms<RouteLabels>,
    pub requests_in_flight: Gauge,
    /// Bytes of bodies that were sent.
    pub response_bytes: Family<RouteLabels, Counter>,
    pub processes: Family<ProcessLabels, Gauge>,
    pub exits: Family<ExitLabels, Counter>,
    /// From a request for a segment to its first bytes.
    pub segment_wait: Histograms<SegmentLabels>,
    pub segment_requests: Family<SegmentLabels, Counter>,
    pub queue_wait: Histograms<QueueLabels>,
    pub jobs_ended: Family<JobLabels, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Metrics {
            registry: Arc::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(request_histogram),
            requests_in_flight: Gauge::default(),
            response_bytes: Family::default(),
            processes: Family::default(),
            exits: Family::default(),
            segment_wait: Family::new_with_constructor(segment_histogram),
            segment_requests: Family::default(),
            queue_wait: Family::new_with_constructor(queue_histogram),
            jobs_ended: Family::default(),
        };
        // What has not happened yet counts 0: a series that begins with 1 shows no increase.
        for from in ["cache", "encoder"] {
            metrics
                .segment_wait
                .get_or_create_owned(&SegmentLabels { from });
            metrics
                .segment_requests
                .get_or_create_owned(&SegmentLabels { from });
        }
        for queue in ["stream", "query", "job"] {
            metrics
                .queue_wait
                .get_or_create_owned(&QueueLabels { queue });
        }
        metrics.registry = Arc::new(metrics.registered());
        metrics
    }
}

impl Metrics {
    fn registered(&self) -> Registry {
        let mut all = Registry::with_prefix(PREFIX);
        all.register(
            "http_requests",
            "Requests answered, by route and status",
            self.requests.clone(),
        );
        all.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to the head of its answer",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        all.register(
            "http_requests_in_flight",
            "Requests whose answer is not sent yet",
            self.requests_in_flight.clone(),
        );
        all.register_with_unit(
            "http_response",
            "Bytes of bodies sent",
            Unit::Bytes,
            self.response_bytes.clone(),
        );
        all.register(
            "ffmpeg_processes",
            "Processes of ffmpeg and ffprobe that run, by what they are for",
            self.processes.clone(),
        );
        all.register(
            "ffmpeg_exits",
            "Processes of ffmpeg and ffprobe that ended, and how",
            self.exits.clone(),
        );
        all.register_with_unit(
            "segment_wait",
            "Time from a request for a segment to its first bytes",
            Unit::Seconds,
            self.segment_wait.clone(),
        );
        all.register(
            "segment_requests",
            "Segments asked for: cache = it was there, encoder = it had to be made",
            self.segment_requests.clone(),
        );
        all.register_with_unit(
            "queue_wait",
            "Time spent waiting: of streams for an encoder, of queries for a place, of jobs for a worker",
            Unit::Seconds,
            self.queue_wait.clone(),
        );
        all.register(
            "jobs_ended",
            "Queued jobs that came to an end on this gateway",
            self.jobs_ended.clone(),
        );
        all
    }

    /// Everything counted, and `now`, which was read off the state, as OpenMetrics text 1.0.0.
    ///
    /// # Errors
    /// Never in practice: the text goes into memory.
    pub fn text(&self, now: &[Registry]) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        for registry in now {
            encode_registry(&mut text, registry)?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_prefix_and_unit_and_counters_say_total() {
        let metrics = Metrics::default();
        let route = || RouteLabels {
            route: "/stream/{id}/{*file}".into(),
        };
        metrics.response_bytes.get_or_create(&route()).inc_by(188);
        metrics
            .request_duration
            .get_or_create(&route())
            .observe(0.2);
        let text = metrics.text(&[]).unwrap();
        for line in [
            r#"ghoststream_http_response_bytes_total{route="/stream/{id}/{*file}"} 188"#,
            r#"ghoststream_http_request_duration_seconds_count{route="/stream/{id}/{*file}"} 1"#,
            r#"ghoststream_http_request_duration_seconds_bucket{le="0.25",route="/stream/{id}/{*file}"} 1"#,
            "# TYPE ghoststream_segment_wait_seconds histogram",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
