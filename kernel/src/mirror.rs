//! Names that an upstream knows: asked once however many wait, remembered for a while, and served as they were when
//! the upstream fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use model::{
    Change, Error, Found, Link, Meaning, Name, NameRow, Need, Pointer, Resolved, Result, Retention, Time, Upstream,
    When,
};

use crate::hub::{Hub, Settings};
use crate::namespace::Namespace;
use crate::rights::Granted;

/// How long somebody waits for news of a name that is here in an older form.
const PATIENCE: Duration = Duration::from_secs(10);
/// What an upstream may ask for with `Busy` at most.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Names whose answers are remembered; beyond, the older half is asked again.
const REMEMBERED: usize = 100_000;

type Asking = Shared<BoxFuture<'static, Result<()>>>;

/// What is known of the names of upstreams, in this process.
#[derive(Default)]
pub(crate) struct Mirror(Mutex<Known>);

#[derive(Default)]
struct Known {
    asking: HashMap<Name, Asking>,
    answers: HashMap<Name, Answer>,
}

struct Answer {
    at: Instant,
    /// Counts until then; `None` for ever.
    until: Option<Instant>,
    /// It was no.
    error: Option<Error>,
}

impl Mirror {
    /// Protects what is known; never held across an await.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that still counts.
    fn answer(&self, name: &Name) -> Option<Result<()>> {
        let (known, now) = (self.lock(), Instant::now());
        let answer = known.answers.get(name)?;
        if answer.until.is_some_and(|until| until <= now) {
            return None;
        }
        Some(match (&answer.error, answer.until) {
            (None, _) => Ok(()),
            // What is left of the time that it wants.
            (Some(error), Some(until)) if matches!(error.meaning(), Meaning::Busy(_)) => {
                Err(Error::new(Meaning::Busy(until - now), error.text().to_owned()))
            }
            (Some(error), _) => Err(error.clone()),
        })
    }

    fn remember(&self, name: &Name, lasts: Option<Duration>, done: &Result<()>, settings: &Settings) {
        let at = Instant::now();
        let until = match done {
            Ok(()) => lasts.map(|lasts| at + lasts),
            Err(error) => Some(
                at + match error.meaning() {
                    Meaning::Absent | Meaning::Denied => settings.absent,
                    Meaning::Busy(after) => (*after).clamp(Duration::from_secs(1), LONGEST),
                    _ => settings.failed,
                },
            ),
        };
        let mut known = self.lock();
        known.asking.remove(name);
        if known.answers.len() >= REMEMBERED {
            let mut ages: Vec<Instant> = known.answers.values().map(|answer| answer.at).collect();
            let middle = ages.len() / 2;
            let (_, median, _) = ages.select_nth_unstable(middle);
            let median = *median;
            known.answers.retain(|_, answer| answer.at > median);
        }
        known.answers.insert(name.clone(), Answer { at, until, error: done.clone().err() });
    }
}

impl Namespace {
    /// The same namespace, entered by the hub itself.
    fn own(&self) -> Self {
        Self { granted: Granted::own(), foreign: false, ..self.clone() }
    }

    /// What a name is that an upstream knows.
    pub(crate) async fn mirrored(&self, name: &Name, upstream: &Arc<dyn Upstream>) -> Result<NameRow> {
        let row = self.bound(name).await?;
        let lasts = upstream.lasts(name);
        match (&row, self.space.mirror.answer(name)) {
            // It may have moved since to where we may not look.
            (Some(_), Some(Err(error))) if lasts.is_some() && is_refusal(&error) => return Err(error),
            (Some(row), Some(_)) => return Ok(row.clone()),
            (Some(row), None) if lasts.is_none() => return Ok(row.clone()),
            (None, Some(Err(error))) => return Err(error),
            // What was resolved has been evicted since, or nobody asked yet.
            _ => {}
        }
        // What moves and holds nothing had no room when it came: it is tried anew.
        let kept = |row: &&NameRow| lasts.is_none() || row.pointer.keep != Retention::Weak;
        let asking = self.ask(name, upstream, row.as_ref().filter(kept).map(|row| row.pointer.clone()));
        let Some(row) = row else {
            asking.await?;
            return self
                .bound(name)
                .await?
                .ok_or_else(|| Error::busy(format!("{name} was evicted as it came: try again")));
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(())) => Ok(self.bound(name).await?.unwrap_or(row)),
            Ok(Err(error)) if error.is_absent() || is_refusal(&error) => Err(error),
            failed => {
                let error = failed.ok().and_then(Result::err);
                tracing::warn!(%name, error = error.map(tracing::field::display), "the upstream does not answer: serving what is here");
                self.hub.metrics().stale.inc();
                Ok(row)
            }
        }
    }

    /// Asks the upstream; joins whoever asks already. Goes on when nobody waits any more.
    fn ask(&self, name: &Name, upstream: &Arc<dyn Upstream>, known: Option<Pointer>) -> Asking {
        let mut table = self.space.mirror.lock();
        if let Some(asking) = table.asking.get(name) {
            return asking.clone();
        }
        let (own, name, upstream) = (self.own(), name.clone(), Arc::clone(upstream));
        let asked = name.clone();
        let work = async move {
            let done = tokio::select! {
                done = own.resolve(&asked, &*upstream, known) => done,
                () = own.hub.closing().cancelled() => Err(Error::busy("the hub is shutting down: try again")),
            };
            own.space.mirror.remember(&asked, upstream.lasts(&asked), &done, own.hub.settings());
            done
        };
        let hub = self.hub.clone();
        let asking = async move { hub.to_the_end("ask an upstream", work).await }.boxed().shared();
        table.asking.insert(name, asking.clone());
        asking
    }

    async fn resolve(&self, name: &Name, upstream: &dyn Upstream, known: Option<Pointer>) -> Result<()> {
        match upstream.resolve(name, known.as_ref()).await {
            Ok(Some(Found::Same)) if known.is_some() => Ok(()),
            Ok(Some(Found::Same)) => Err(Error::broken("an upstream calls something the same that was not known")),
            Ok(Some(Found::Points(resolved))) => self.adopt(name, resolved).await,
            Ok(None) => {
                Err(self.gone(name, known, Error::absent(format!("{name} is not there, nor at its upstream"))).await)
            }
            Err(error) if error.is_absent() => Err(self.gone(name, known, error).await),
            Err(error) => Err(error),
        }
    }

    /// The upstream has it no more: neither have we.
    async fn gone(&self, name: &Name, known: Option<Pointer>, error: Error) -> Error {
        if let Some(known) = known
            && let Err(error) = self.unbound(name, When::Is(known.blob.digest)).await
            && !matches!(error.meaning(), Meaning::Absent | Meaning::Conflict)
        {
            return error;
        }
        error
    }

    /// Stores what came, promises what it needs, and binds its names.
    async fn adopt(&self, name: &Name, resolved: Resolved) -> Result<()> {
        let Resolved { pointer, bytes, beside } = resolved;
        let mut promised: Vec<Link> =
            beside.iter().map(|(_, pointer)| Link::must(pointer.blob, pointer.kind)).collect();
        let mut stored = false;
        if let Some(bytes) = bytes {
            if let Some(kind) = self.hub.kind(pointer.kind) {
                promised.extend(kind.links(&bytes).map_err(strange)?);
            }
            let mut done = self.put(vec![(pointer.blob, bytes)]).await?;
            match done.pop().unwrap_or(Ok(())) {
                Err(error) if *error.meaning() == Meaning::Full => {}
                done => {
                    done.map_err(strange)?;
                    stored = true;
                }
            }
        }
        // Bytes that came along and find no room are fetched again by whoever reads them.
        let homeless = !stored && self.hub.kind(pointer.kind).is_some();
        if !stored {
            promised.push(Link::must(pointer.blob, pointer.kind));
        }
        promised.extend(pointer.also.iter().copied());
        // What we have just stored is ours; a promise is for what may have to be fetched.
        promised.retain(|link| link.need == Need::Must && (link.blob != pointer.blob || !stored));
        promised.sort_unstable();
        promised.dedup_by_key(|link| link.blob);
        let (space, used) = (self.space.id, Time::now());
        let source = name.to_string();
        let promise = |link: Link| Change::Promise { space, blob: link.blob, source: source.clone(), used };
        self.hub.catalog().apply(promised.into_iter().map(promise).collect()).await?;
        let mut list = vec![(name.clone(), pointer, When::Always)];
        list.extend(beside.into_iter().map(|(name, pointer)| (name, pointer, When::Always)));
        if homeless {
            // Nothing can be held by what is not here.
            list.iter_mut().for_each(|(_, pointer, _)| pointer.keep = Retention::Weak);
            return self.clone().foreign().bind_closure(list).await;
        }
        self.bind_closure(list).await.map_err(|error| match error.meaning() {
            Meaning::Incomplete(_) => Error::busy(format!("{name} was evicted as it came: try again")),
            _ => error,
        })
    }
}

/// Whoever may not have it there any more has it not from here.
fn is_refusal(error: &Error) -> bool {
    *error.meaning() == Meaning::Denied
}

/// What an upstream sent is the upstream's fault.
fn strange(error: Error) -> Error {
    match error.meaning() {
        Meaning::Malformed | Meaning::Mismatch | Meaning::TooBig | Meaning::Unsupported => {
            Error::upstream(format!("the upstream sent what makes no sense: {}", error.text()))
        }
        _ => error,
    }
}

impl Hub {
    /// The upstream that knows a name.
    pub(crate) fn upstream(&self, name: &Name) -> Option<&Arc<dyn Upstream>> {
        self.settings().upstreams.iter().find(|upstream| upstream.knows(name))
    }
}
