//! The order in which a runner is offered what there is to do. Runners take the first offer; were it
//! the same for all, all but one would come too late.

use std::collections::HashMap;
use std::time::Duration;

use crate::base::{QueueId, UnixMillis};
use crate::job::model::Job;
use crate::job::spec::JobKind;

/// Most jobs that a runner is offered (contract section 4).
pub const OFFERS: usize = 10;

/// How long the job at the head of a runner's list is thought to be taken by it.
const THOUGHT_TAKEN: Duration = Duration::from_secs(3);

/// The jobs that `me` is offered of `jobs` (in the order of the queue), and the one at the head, which
/// others should be offered last. `heads` are the heads of other lists, who has them, since when.
/// Storyboards come last for who did not ask for them (`asked`): older runners leave them lying, and
/// look at nothing behind. Of equal jobs those come last that failed before, so that a few bad films
/// do not hold up all others.
pub fn offered(
    mut jobs: Vec<Job>,
    me: &str,
    asked: bool,
    heads: &HashMap<QueueId, (String, UnixMillis)>,
    now: UnixMillis,
) -> Vec<Job> {
    let others = |job: &Job| {
        let head = heads.get(&job.id);
        head.is_some_and(|(who, at)| who != me && now.since(*at) < THOUGHT_TAKEN)
    };
    let left_lying = |job: &Job| !asked && job.spec.kind() == JobKind::VideoStoryboard;
    let turn = |job: &Job| (std::cmp::Reverse(job.priority), job.failures);
    // Stable: otherwise the order of the queue.
    jobs.sort_by_key(|job| (left_lying(job), others(job), turn(job)));
    jobs.truncate(OFFERS);
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::runner::{RunnerSpec, RunnerWork, Storyboard};
    use crate::job::{JobSpec, NewJob};

    fn job(id: &str, work: RunnerWork) -> Job {
        let new = NewJob {
            id: id.parse().unwrap(),
            priority: 0,
            parents: Vec::new(),
            retry: work.retry_policy(),
            spec: JobSpec::Runner(Box::new(RunnerSpec {
                video: "v".into(),
                work,
            })),
        };
        Job::new(new, UnixMillis::new(0))
    }

    fn order(jobs: Vec<Job>) -> Vec<String> {
        jobs.iter().map(|j| j.id.to_string()).collect()
    }

    #[test]
    fn what_another_is_about_to_take_comes_last() {
        let jobs = || {
            ["a", "b", "c"]
                .map(|id| job(id, RunnerWork::Transcription))
                .to_vec()
        };
        let now = UnixMillis::new(10_000);
        let heads = HashMap::from([("a".parse().unwrap(), ("other".to_owned(), now))]);
        assert_eq!(
            order(offered(jobs(), "me", true, &heads, now)),
            ["b", "c", "a"]
        );
        assert_eq!(
            order(offered(jobs(), "other", true, &heads, now)),
            ["a", "b", "c"]
        );
        let later = now + Duration::from_secs(3);
        assert_eq!(
            order(offered(jobs(), "me", true, &heads, later)),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn what_failed_comes_behind_its_equals() {
        let mut jobs = ["a", "b", "c"]
            .map(|id| job(id, RunnerWork::Transcription))
            .to_vec();
        jobs[0].failures = 1;
        jobs[2].priority = -1;
        let (none, now) = (HashMap::new(), UnixMillis::new(0));
        assert_eq!(
            order(offered(jobs, "me", true, &none, now)),
            ["b", "a", "c"]
        );
    }

    #[test]
    fn storyboards_do_not_hide_other_work_from_old_runners() {
        let sheet = Storyboard::of(10.0, 640, 360);
        let mut jobs: Vec<Job> = (0..12)
            .map(|n| job(&format!("s{n}"), RunnerWork::Storyboard { sheet }))
            .collect();
        jobs.push(job("t", RunnerWork::Transcription));
        let none = HashMap::new();
        let now = UnixMillis::new(0);
        let told = order(offered(jobs.clone(), "me", false, &none, now));
        assert_eq!((told.len(), told[0].as_str()), (10, "t"));
        assert_eq!(order(offered(jobs, "me", true, &none, now))[0], "s0");
    }
}
