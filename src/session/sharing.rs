//! Who watches the same: jobs that ask for the same of the same source, each with one viewer.
//!
//! Every viewer has a job of its own over the shared stream, so that what one cancels or deletes
//! stays there for the others.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::JobId;

use super::error::SessionError;
use super::job::{Job, JobPhase};
use super::registry::{Registry, State, StreamKey};

/// Viewers of what a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewerCount {
    /// Itself included, unless it has left.
    pub viewers: usize,
    pub is_shared: bool,
}

impl ViewerCount {
    fn of(viewers: usize) -> ViewerCount {
        ViewerCount {
            viewers,
            is_shared: viewers > 1,
        }
    }
}

/// A stream with those who watch it.
pub struct SharedStream {
    /// The job that came first.
    pub job: Arc<Job>,
    pub viewers: usize,
    /// Viewers that named their session.
    pub sessions: usize,
}

/// Whether two jobs get the same bytes. The same request may have been opened in two versions of its
/// source.
fn is_same(a: &Job, b: &Job) -> bool {
    if a.share != b.share {
        return false;
    }
    match (&*a.phase.borrow(), &*b.phase.borrow()) {
        (JobPhase::Open(a), JobPhase::Open(b)) => Arc::ptr_eq(a, b),
        (JobPhase::Opening | JobPhase::Open(_), JobPhase::Opening | JobPhase::Open(_)) => true,
        _ => false,
    }
}

impl State {
    fn watching<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = &'a Arc<Job>> {
        let others = self.jobs.values();
        others.filter(|other| !other.has_left() && (other.id == job.id || is_same(other, job)))
    }

    /// The job of the same session that asks for the same and has not come to a bad end.
    pub(super) fn of_session(&self, new: &Job) -> Option<Arc<Job>> {
        let session = new.origin.session_id.as_ref()?;
        let of_session = |job: &&Arc<Job>| job.origin.session_id.as_ref() == Some(session);
        let mut jobs = self.jobs.values().filter(of_session);
        jobs.find(|job| is_same(job, new)).cloned()
    }
}

impl Registry {
    pub fn viewers(&self, job: &Job) -> ViewerCount {
        let state = self.lock();
        let watching = state.watching(job).count();
        // A job that has ended or was deleted is still its own viewer's.
        ViewerCount::of(watching.max(usize::from(!job.has_left())))
    }

    /// A viewer leaves: it is no longer counted. The job goes on for the others, and ends by itself
    /// when nobody asks for it. `session` tells who, when one job's id was handed on to others;
    /// without it, or when it names none of the viewers of an unnamed job, it is the job's own.
    pub fn leave(&self, id: JobId, session: Option<&str>) -> Result<ViewerCount, SessionError> {
        let job = {
            let state = self.lock();
            let job = state.jobs.get(&id).ok_or(SessionError::NoSuchJob)?;
            let named = |j: &&Arc<Job>| j.origin.session_id.as_deref() == session;
            let leaving = match session {
                Some(_) if job.origin.session_id.as_deref() != session => {
                    let unnamed = job.origin.session_id.is_none().then_some(job);
                    state.watching(job).find(named).or(unnamed)
                }
                _ => Some(job),
            };
            if let Some(leaving) = leaving {
                leaving.leave();
            }
            job.clone()
        };
        Ok(self.viewers(&job))
    }

    /// Every stream that is watched, each once, by the id of its first job.
    pub fn shared_streams(&self) -> Vec<SharedStream> {
        let mut jobs = self.jobs();
        jobs.retain(|job| {
            let lives = matches!(&*job.phase.borrow(), JobPhase::Opening | JobPhase::Open(_));
            lives && !job.has_left()
        });
        jobs.sort_by_key(|job| (job.created_at, job.id));
        let mut places: HashMap<StreamKey, Vec<usize>> = HashMap::new();
        let mut streams: Vec<SharedStream> = Vec::new();
        for job in jobs {
            let sessions = usize::from(job.origin.session_id.is_some());
            let known = places.entry(job.share).or_default();
            let place = known.iter().find(|p| is_same(&streams[**p].job, &job));
            if let Some(place) = place {
                streams[*place].viewers += 1;
                streams[*place].sessions += sessions;
                continue;
            }
            known.push(streams.len());
            streams.push(SharedStream {
                job,
                viewers: 1,
                sessions,
            });
        }
        streams
    }
}
