//! Receives pushes into a data directory until it is killed: `receiver DIRECTORY FROM REPOSITORY COMMIT`. Pushes that
//! commit under two new refs each time, several pushes at a time, and prints the number of each that was acknowledged.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use kernel::{Caller, Grant, Hub, Rights, Settings};
use suite::bst1::{Client, Form, Order, Pushed, objects};

/// Pushes at a time.
const PUSHERS: u64 = 4;

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, directory, from, repository, commit] = &words[..] else { anyhow::bail!("four arguments") };
    let (directory, from): (PathBuf, u64) = (directory.into(), from.parse()?);
    let catalog = catalogs::Plan::new(directory.join("catalog.db")).open()?;
    let store = stores::Disk::open(&directory)?;
    let hub = Hub::open(Arc::new(catalog), Arc::new(store), ostree::kinds(), Settings::default()).await?;
    hub.tidy();
    let caller = Caller::known("ssh:test", vec![Grant::everywhere(Rights::PUSH)]);
    let namespace = hub.enter(&caller, "main")?;
    let entries = objects(repository.as_ref());
    let client = Client { order: Order::Little, form: Form::Pax, tells: false };
    let push = |pusher: u64| {
        let (namespace, entries) = (namespace.clone(), &entries);
        async move {
            for round in 0.. {
                let number = from + round * PUSHERS + pusher;
                let names = [format!("p/{number}/strong"), format!("p/{number}/weak")];
                let refs = names.each_ref().map(|name| (&**name, &**commit));
                let (near, far) = tokio::io::duplex(64 << 10);
                let (input, output) = tokio::io::split(far);
                let options = ostree::ReceiveOptions::new("http://localhost/artifacts");
                let receiving = ostree::receive(namespace.clone(), "artifacts", options, input, output);
                let (mut input, mut output) = tokio::io::split(near);
                let (pushed, ended) = tokio::join!(client.push(&mut input, &mut output, &refs, entries), receiving);
                anyhow::ensure!(pushed? == Pushed::Done && ended.status == 0, "{ended:?}");
                let mut out = std::io::stdout().lock();
                writeln!(out, "{number}")?;
                out.flush()?;
            }
            anyhow::Ok(())
        }
    };
    futures::future::try_join_all((0..PUSHERS).map(push)).await?;
    Ok(())
}
