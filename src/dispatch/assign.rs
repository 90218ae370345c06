//! Booking by size and benchmark: the dispatcher chooses the worker, whoever asks.

use std::collections::{BTreeSet, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

use crate::base::WorkerId;
use crate::job::{Event, Job, JobKind, JobSpec, Worker, choose_by_size};
use crate::store::Wanted;

use super::dispatcher::Dispatcher;
use super::error::DispatchError;

/// Jobs that are looked at for one that a free worker can do.
const LOOK_AT: u32 = 32;

impl Dispatcher {
    /// Books the first job for which there is a free worker on the one that size and benchmarks say
    /// (`job::choose_by_size`), and hands it to `asker`, which need not be the same (distconv
    /// contract, sections 1 and 4.4).
    ///
    /// Such workers ask only when they have nothing to do: one that has been asking for longer than a
    /// lease while it has a job has lost that job, which is then put back.
    pub async fn assign(
        &self,
        asker: Option<&WorkerId>,
        kinds: &[JobKind],
    ) -> Result<Option<Job>, DispatchError> {
        let _one_at_a_time = self.assigning.lock().await;
        if let Some(asker) = asker {
            self.note_asking(asker).await?;
        }
        let booked: HashSet<_> = self.store.booked_workers().await?.into_iter().collect();
        let now = self.clock.now();
        let mut workers = self.store.workers().await?;
        let asker_known = workers
            .iter()
            .any(|w| Some(&w.id) == asker && w.is_alive(now, self.settings.worker_expiry));
        workers.retain(|w| {
            w.is_alive(now, self.settings.worker_expiry)
                // Engines that name their kinds take work by leases of their own.
                && w.abilities.kinds.is_empty()
                && w.abilities.benchmark_seconds.is_some()
                && !w.abilities.busy
                && !w.abilities.draining
                && !booked.contains(&w.id)
        });
        if workers.is_empty() {
            return Ok(None);
        }
        let wanted = Wanted {
            kinds: kinds.to_vec(),
            codecs: all_codecs(&workers),
        };
        let nobody = WorkerId::new("");
        let offers = self.store.offers(&wanted, &nobody, now, LOOK_AT).await?;
        for offer in offers {
            let requires = offer.spec.requires();
            let suited = workers.iter().filter(|w| {
                w.abilities.suits(requires.as_deref()) && !offer.unsuited.contains(&w.id)
            });
            let Some(chosen) = choose_by_size(size_mb(&offer), suited) else {
                continue;
            };
            let carrier = asker.filter(|_| asker_known).unwrap_or(&chosen.id);
            let claim = self.new_claim(chosen.id.clone(), carrier.clone());
            // Another gateway may have been faster.
            if let Some(job) = self.store.claim_one(&offer.id, &claim).await? {
                self.claimed(&job).await;
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    async fn note_asking(&self, asker: &WorkerId) -> Result<(), DispatchError> {
        let held = self.store.held_by(asker).await?;
        let carried: Vec<&Job> = held
            .iter()
            .filter(|j| j.lease.as_ref().is_some_and(|l| l.carrier == *asker))
            .collect();
        if self.asked_for(asker, !carried.is_empty()) <= self.settings.lease {
            return Ok(());
        }
        for job in carried {
            match self.change(&job.id, Event::Abandon).await {
                Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                Err(error) => return Err(error),
            }
        }
        self.asked_for(asker, false);
        Ok(())
    }

    /// How long `asker` has been asking while it has work.
    fn asked_for(&self, asker: &WorkerId, has_work: bool) -> Duration {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if !has_work {
            asking.remove(asker);
            return Duration::ZERO;
        }
        let now = self.clock.now();
        now.since(*asking.entry(asker.clone()).or_insert(now))
    }
}

/// Everything that any of the workers can do; `None`: one of them takes all.
fn all_codecs(workers: &[Worker]) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for worker in workers {
        all.extend(worker.abilities.codecs.as_ref()?.iter().cloned());
    }
    Some(all)
}

fn size_mb(job: &Job) -> f64 {
    match &job.spec {
        JobSpec::Transcode(spec) => spec.size_mb,
        JobSpec::Batch(_) | JobSpec::Runner(_) | JobSpec::Scene(_) => 0.0,
    }
}
