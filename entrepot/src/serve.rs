//! Serving: as the owner of the data directory, or as a guest of the process that owns it.
//!
//! Both bind their sockets first, so that a busy port is told before anything else happens. A guest stays in the
//! foreground; when the owner ends, one guest becomes the owner and serves on.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use kernel::{Hub, Settings};
use serde::{Deserialize, Serialize};
use server::control::{Admission, Door, Guest, Owner, Stay};
use server::notify::{self, News};
use server::ssh::HostKeys;
use server::{Lock, Server, Tls};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Command};
use crate::config::Config;
use crate::destination::Destinations;
use crate::directory::Directory;
use crate::listen::{Plan, Texts, Wiring};
use crate::receive::{Asked, Receiving};
use crate::repository;
use crate::ssh;
use crate::upstreams;

/// How often a guest looks whether its TLS files changed.
const WATCH: Duration = Duration::from_secs(1);

/// What a process says to the owner of a data directory.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Message {
    /// "Serve this socket", which comes along.
    Listen {
        plan: Box<Plan>,
        texts: Option<Texts>,
        /// A limit for the default namespace that somebody asked for.
        quota: Option<u64>,
        instances: BTreeMap<String, String>,
    },
    /// "Serve this socket by SSH", which comes along.
    ListenSsh { plan: Box<ssh::Plan>, destinations: Destinations, host_keys: Vec<String> },
    /// "My TLS files changed."
    Replace(Texts),
    /// "Do this, and write what you have to say there": standard output comes along.
    Run(Command),
    /// "Somebody pushes": standard input, output and error come along. Answered when it begins, and then with the
    /// exit status.
    Receive { asked: Asked, who: String },
}

/// A listener of ours.
enum Bound {
    Http { plan: Plan, socket: TcpListener, tls: Option<Arc<Tls>> },
    Ssh { plan: ssh::Plan, socket: TcpListener },
}

/// What to serve.
pub(crate) struct Serving {
    pub(crate) config: Config,
    /// A limit for `main` that somebody asked for; a default gives way to it.
    pub(crate) quota: Option<u64>,
    /// Said once everything listens, at `warn`, so that the journal shows it.
    pub(crate) started: String,
}

/// Serves until a signal to end.
pub(crate) async fn serve(serving: Serving) -> anyhow::Result<()> {
    let mut bound = Vec::new();
    for plan in &serving.config.listen {
        let tls = plan.tls()?.map(Arc::new);
        bound.push(Bound::Http { plan: plan.clone(), socket: server::bind(plan.address())?, tls });
    }
    for plan in &serving.config.ssh {
        bound.push(Bound::Ssh { plan: plan.clone(), socket: server::bind(plan.address())? });
    }
    let data = &serving.config.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let mut end = Signals::new()?;
    // systemd's watchdog wants to hear from a guest, too.
    let mut alive = tokio::time::interval(notify::watchdog().unwrap_or(Duration::from_secs(3600)));
    loop {
        if let Some(lock) = Lock::try_take(data)? {
            return own(serving, bound, lock, end, alive).await;
        }
        tokio::select! {
            stayed = stay(&serving, &bound, &mut alive) => stayed?,
            () = end.wait() => return Ok(()),
        }
        // The owner has ended; somebody gets its lock, and whoever does not finds it at the door again.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// SIGTERM and SIGINT end the program; SIGHUP changes nothing, because changed files are noticed anyway.
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            term: on(SignalKind::terminate())?,
            int: on(SignalKind::interrupt())?,
            hup: on(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => tracing::info!("certificates and password files are read again by themselves"),
            }
        }
    }
}

/// Hands the sockets to the owner and stays until it ends. `Ok` when it is time to try for the lock.
async fn stay(serving: &Serving, bound: &[Bound], alive: &mut Interval) -> anyhow::Result<()> {
    let data = &serving.config.data;
    let mut stays = Vec::new();
    for one in bound {
        let (message, socket) = introduce(serving, one)?;
        match Stay::begin(data, &message, &[socket.as_fd()]).await {
            Ok(stay) => stays.push((one, stay)),
            // It begins or ends just now.
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(error).context("the owner of the data directory refused"),
        }
    }
    notify::tell(News::Ready("serving as a guest of the process that owns the data directory"));
    tracing::warn!(data = %data.display(), "{} (as a guest of the process that owns the data directory)", serving.started);
    let ends = stays.into_iter().map(|(one, stay)| Box::pin(watch_one(one, stay)));
    let mut first = futures::future::select_all(ends);
    loop {
        tokio::select! {
            (ended, ..) = &mut first => return ended,
            _ = alive.tick() => notify::tell(News::Alive),
        }
    }
}

/// What to say to the owner about a listener.
fn introduce<'a>(serving: &Serving, one: &'a Bound) -> anyhow::Result<(Message, &'a TcpListener)> {
    let config = &serving.config;
    Ok(match one {
        Bound::Http { plan, socket, .. } => {
            let message = Message::Listen {
                plan: Box::new(plan.clone().absolute()?),
                texts: plan.texts()?,
                quota: serving.quota,
                instances: config.instances.clone(),
            };
            (message, socket)
        }
        Bound::Ssh { plan, socket } => {
            let message = Message::ListenSsh {
                plan: Box::new(plan.clone().absolute(&config.data)?),
                destinations: config.destinations(),
                host_keys: plan.host_keys(&config.data)?.texts()?,
            };
            (message, socket)
        }
    })
}

/// Tells the owner of new TLS material, until the owner ends.
async fn watch_one(one: &Bound, mut stay: Stay) -> anyhow::Result<()> {
    loop {
        if tokio::time::timeout(WATCH, stay.end()).await.is_ok() {
            return Ok(());
        }
        if let Bound::Http { plan, tls: Some(tls), .. } = one
            && let tls = Arc::clone(tls)
            && tokio::task::spawn_blocking(move || tls.refresh()).await?
            && let Some(texts) = plan.texts()?
            && let Err(error) = stay.tell(&Message::Replace(texts)).await
        {
            if error.is_absent() {
                return Ok(());
            }
            tracing::error!(%error, "the owner did not take the new TLS files");
        }
    }
}

/// The limits that somebody asked for. The smallest wins.
struct Quotas {
    hub: Hub,
    default: u64,
    asked: Mutex<BTreeMap<u64, u64>>,
}

impl Quotas {
    fn set(&self, who: u64, quota: Option<u64>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match quota {
            Some(quota) => asked.insert(who, quota),
            None => asked.remove(&who),
        };
        let smallest = asked.values().min().copied();
        if asked.values().any(|other| Some(*other) != smallest) {
            tracing::warn!(
                quota = smallest,
                "processes on one data directory ask for different quotas: the smallest counts"
            );
        }
        self.hub.set_limit("main", smallest.unwrap_or(self.default));
    }
}

/// Serves as the owner.
async fn own(
    serving: Serving,
    bound: Vec<Bound>,
    lock: Lock,
    mut end: Signals,
    mut alive: Interval,
) -> anyhow::Result<()> {
    let Serving { config, quota, started } = serving;
    let upstreams = Arc::new(config.upstreams()?);
    let settings = Settings { upstreams: vec![upstreams.clone()], ..config.settings() };
    let directory = Directory::open(&config.data, lock, settings).await?;
    let hub = directory.hub.clone();
    let default = hub.limit("main").unwrap_or(u64::MAX);
    let wiring = Arc::new(Wiring {
        instances: config.instances.clone(),
        registry: oci::Settings { guessed: config.guesses_upstream(), ..config.registry.settings()? },
        repositories: repository::repositories(&config.repositories()),
    });
    let quotas = Arc::new(Quotas { hub: hub.clone(), default, asked: Mutex::default() });
    quotas.set(0, quota);
    let server = Server::new(Arc::new(hub.clone()), config.limits(), |registry| {
        hub.register_metrics(registry);
        upstreams::register(&upstreams, registry);
    });
    let door = Door::open(&config.data, Admission { group: config.guests })?;
    let never = CancellationToken::new();
    let watched = |serving: Listening| async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "a listener failed");
        }
    };
    for one in bound {
        let serving: Listening = match one {
            Bound::Http { plan, socket, tls } => {
                Box::pin(server.serve(plan.open(&hub, &server, &wiring, socket, tls)?, &never))
            }
            Bound::Ssh { plan, socket } => {
                let keys = plan.host_keys(&config.data)?;
                Box::pin(server.serve_ssh(plan.open(&hub, &config.data, config.destinations(), socket, keys)?, &never))
            }
        };
        hub.spawn("listener", watched(serving));
    }
    let receiving = Receiving { hub: hub.clone(), destinations: config.destinations() };
    hub.tidy();
    notify::tell(News::Ready("serving"));
    tracing::warn!("{started}");
    let mut guests = 0;
    loop {
        tokio::select! {
            () = end.wait() => break,
            _ = alive.tick() => notify::tell(News::Alive),
            guest = door.next::<Message>() => {
                guests += 1;
                let guest = guest.context("the door for guests failed")?;
                let house = House {
                    receiving: receiving.clone(),
                    server: server.clone(),
                    wiring: Arc::clone(&wiring),
                    quotas: Arc::clone(&quotas),
                    data: config.data.clone(),
                };
                hub.spawn("guest", async move { house.entertain(guests, guest).await });
            }
        }
    }
    notify::tell(News::Stopping);
    tracing::info!("ending: running requests may finish");
    drop(door);
    server.drain().await;
    directory.close().await;
    Ok(())
}

/// A listener that is being served.
type Listening = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// What the owner shares with its guests.
struct House {
    receiving: Receiving,
    server: Server,
    wiring: Arc<Wiring>,
    quotas: Arc<Quotas>,
    data: PathBuf,
}

impl House {
    /// Serves a guest until it leaves.
    async fn entertain(&self, number: u64, guest: Guest<Message>) {
        let Guest { message, mut descriptors, mut line } = guest;
        let hub = &self.receiving.hub;
        let done = match (message, descriptors.pop()) {
            (Message::Run(command), Some(output)) => {
                let done = admin::answer(hub, command, output).await;
                line.answer(done.as_ref().copied().map_err(String::as_str)).await
            }
            (Message::Listen { plan, texts, quota, instances }, Some(socket)) => {
                self.quotas.set(number, quota);
                let wiring = Wiring { instances, ..(*self.wiring).clone() };
                let served = self.host(&plan, texts, &wiring, TcpListener::from(socket), &mut line).await;
                self.quotas.set(number, None);
                match served {
                    Ok(()) => Ok(()),
                    Err(error) => line.answer(Err(&format!("{error:#}"))).await,
                }
            }
            (Message::ListenSsh { plan, destinations, host_keys }, Some(socket)) => {
                match self.host_ssh(&plan, destinations, &host_keys, TcpListener::from(socket), &mut line).await {
                    Ok(()) => Ok(()),
                    Err(error) => line.answer(Err(&format!("{error:#}"))).await,
                }
            }
            (Message::Receive { asked, who }, Some(errors)) => {
                descriptors.push(errors);
                self.receiving.for_guest(asked, &who, descriptors, &mut line).await
            }
            _ => line.answer(Err("the first message has to bring a socket or an output along")).await,
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a guest left");
        }
    }

    /// Serves a guest's socket until it leaves or we end.
    async fn host(
        &self,
        plan: &Plan,
        texts: Option<Texts>,
        wiring: &Wiring,
        socket: TcpListener,
        line: &mut Owner,
    ) -> anyhow::Result<()> {
        let tls = texts.map(|texts| Tls::open(texts.material())).transpose()?.map(Arc::new);
        let listener = plan.open(&self.receiving.hub, &self.server, wiring, socket, tls.clone())?;
        let left = CancellationToken::new();
        let serving = Box::pin(self.server.serve(listener, &left));
        keep(plan.name(), serving, left, tls, line).await
    }

    /// The same by SSH.
    async fn host_ssh(
        &self,
        plan: &ssh::Plan,
        destinations: Destinations,
        host_keys: &[String],
        socket: TcpListener,
        line: &mut Owner,
    ) -> anyhow::Result<()> {
        let keys = HostKeys::from_texts(host_keys)?;
        let listener = plan.open(&self.receiving.hub, &self.data, destinations, socket, keys)?;
        let left = CancellationToken::new();
        let serving = Box::pin(self.server.serve_ssh(listener, &left));
        keep(&plan.name(), serving, left, None, line).await
    }
}

/// Keeps a guest's listener going until it leaves or we end.
async fn keep(
    name: &str,
    mut serving: Listening,
    left: CancellationToken,
    tls: Option<Arc<Tls>>,
    line: &mut Owner,
) -> anyhow::Result<()> {
    let _stop = left.clone().drop_guard();
    line.answer(Ok(())).await?;
    tracing::info!(listener = name, "serving a guest");
    loop {
        tokio::select! {
            served = &mut serving => return served.context("the guest's listener failed"),
            message = line.next::<Message>() => match message {
                Ok(Some(Message::Replace(texts))) => {
                    let replaced = tls.as_ref().map_or(Ok(()), |tls| tls.replace(texts.material()));
                    let answer = replaced.map_err(|error| error.to_string());
                    line.answer(answer.as_ref().copied().map_err(String::as_str)).await?;
                }
                Ok(Some(_)) => line.answer(Err("a guest with a listener can only replace its TLS material")).await?,
                Ok(None) | Err(_) => break,
            },
        }
    }
    tracing::info!(listener = name, "a guest left: its listener is closed, running requests may finish");
    left.cancel();
    serving.await.context("the guest's listener failed")
}

/// Does one thing on a data directory: by its owner where one runs, else as the owner.
pub(crate) async fn once(config: &Config, command: Command) -> anyhow::Result<()> {
    let data: PathBuf = config.data.clone();
    if !data.is_dir() {
        bail!("there is no data directory {}: name one with --data, or start the hub once", data.display());
    }
    loop {
        if let Some(lock) = Lock::try_take(&data)? {
            let directory = Directory::open(&data, lock, config.settings()).await?;
            let output = rustix::stdio::stdout().try_clone_to_owned()?;
            let done = admin::perform(&directory.hub, command, output.into()).await;
            directory.close().await;
            return done;
        }
        let output: BorrowedFd<'_> = rustix::stdio::stdout();
        match Stay::begin(&data, &Message::Run(command.clone()), &[output]).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_absent() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(anyhow::anyhow!("{}", error.text())),
        }
    }
}
