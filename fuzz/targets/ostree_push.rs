//! The messages of a push and its tar stream: any bytes are taken or refused, and the reader ends.

#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use ostree::receive::message::Message;
use ostree::receive::tar::Tar;

fuzz_target!(|bytes: &[u8]| {
    block_on(async {
        let mut input = bytes;
        while let Ok(Some(message)) = Message::read(&mut input).await {
            let _ = (message.refs(), message.updates());
        }
        let mut tar = Tar::new(bytes);
        while let Ok(Some(_)) = tar.next().await {}
    });
});
