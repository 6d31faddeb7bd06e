//! The crash file system itself: it must lose what nobody synced, and never what somebody did.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use suite::tornfs::{Image, TornFs, available};
use tempfile::TempDir;

const SEEDS: u64 = 200;

fn mounted() -> (TornFs, TempDir) {
    let dir = tempfile::tempdir().expect("a place to mount");
    (TornFs::mount(dir.path()).expect("mounts"), dir)
}

fn sync_dir(dir: &Path) {
    File::open(dir).and_then(|dir| dir.sync_all()).expect("syncs");
}

fn write(path: &Path, bytes: &[u8], sync: bool) {
    let mut file = File::create(path).expect("creates");
    file.write_all(bytes).expect("writes");
    if sync {
        file.sync_data().expect("syncs");
    }
}

/// In how many crashes something is true.
fn count(fs: &TornFs, is: impl Fn(&Image) -> bool) -> u64 {
    (0..SEEDS).filter(|seed| is(&fs.crash(*seed))).count() as u64
}

fn reads(image: &Image, path: &str) -> Option<Vec<u8>> {
    image.files().remove(&PathBuf::from(path))
}

#[test]
fn what_is_synced_survives_and_what_is_not_may_vanish() {
    if !available() {
        return;
    }
    let (fs, _dir) = mounted();
    fs::create_dir(fs.path().join("d")).unwrap();
    write(&fs.path().join("d/synced"), b"bytes", true);
    write(&fs.path().join("d/no data sync"), b"bytes", false);
    sync_dir(&fs.path().join("d"));
    write(&fs.path().join("d/no entry sync"), b"bytes", true);
    sync_dir(fs.path());
    let whole = |name: &'static str| move |image: &Image| reads(image, name).is_some_and(|read| read == b"bytes");
    assert_eq!(count(&fs, whole("d/synced")), SEEDS);
    for name in ["d/no data sync", "d/no entry sync"] {
        let kept = count(&fs, whole(name));
        assert!((10..SEEDS - 10).contains(&kept), "{name} survived {kept} of {SEEDS} crashes");
    }
    assert_eq!(fs.syncs()["/d/synced"], 1);
    assert_eq!(fs.syncs()["/d/"], 1);
}

#[test]
fn a_directory_without_an_entry_takes_all_below_it_away() {
    if !available() {
        return;
    }
    let (fs, _dir) = mounted();
    fs::create_dir(fs.path().join("d")).unwrap();
    write(&fs.path().join("d/file"), b"bytes", true);
    sync_dir(&fs.path().join("d"));
    let kept = count(&fs, |image| reads(image, "d/file").is_some());
    assert!((10..SEEDS - 10).contains(&kept), "{kept}");
}

#[test]
fn a_rename_shows_either_name_but_never_neither() {
    if !available() {
        return;
    }
    let (fs, _dir) = mounted();
    let dirs = ["from", "to"].map(|name| fs.path().join(name));
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    write(&fs.path().join("old"), b"1", true);
    write(&dirs[0].join("old"), b"2", true);
    sync_dir(&dirs[0]);
    sync_dir(fs.path());
    fs::rename(fs.path().join("old"), fs.path().join("new")).unwrap();
    fs::rename(dirs[0].join("old"), dirs[1].join("new")).unwrap();
    for (old, new) in [("old", "new"), ("from/old", "to/new")] {
        let both = |image: &Image| (reads(image, old).is_some(), reads(image, new).is_some());
        assert_eq!(count(&fs, |image| both(image).0 != both(image).1), SEEDS, "{old} and {new}");
        let moved = count(&fs, |image| both(image).1);
        assert!((10..SEEDS - 10).contains(&moved), "{new}: {moved}");
    }
}

#[test]
fn a_file_whose_name_was_used_again_is_not_lost() {
    if !available() {
        return;
    }
    let (fs, _dir) = mounted();
    write(&fs.path().join("name"), b"first", true);
    sync_dir(fs.path());
    fs::rename(fs.path().join("name"), fs.path().join("elsewhere")).unwrap();
    write(&fs.path().join("name"), b"second", true);
    fs::remove_file(fs.path().join("name")).unwrap();
    assert_eq!(count(&fs, |image| image.files().values().any(|bytes| bytes == b"first")), SEEDS);
}

#[test]
fn a_sync_of_the_new_directory_settles_a_rename_in_both() {
    if !available() {
        return;
    }
    let (fs, _dir) = mounted();
    let dirs = ["from", "to"].map(|name| fs.path().join(name));
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    sync_dir(fs.path());
    write(&dirs[0].join("file"), b"bytes", true);
    fs::rename(dirs[0].join("file"), dirs[1].join("file")).unwrap();
    sync_dir(&dirs[1]);
    assert_eq!(count(&fs, |image| image.files().into_keys().eq([PathBuf::from("to/file")])), SEEDS);
}

#[test]
fn write_sync_rename_without_a_sync_of_the_directory_is_caught() {
    if !available() {
        return;
    }
    let settle = |fault: Option<&str>| {
        let (fs, _dir) = mounted();
        fs.skip_syncs(fault);
        write(&fs.path().join("tmp"), b"bytes", true);
        fs::rename(fs.path().join("tmp"), fs.path().join("blob")).unwrap();
        sync_dir(fs.path());
        count(&fs, |image| reads(image, "blob").is_some_and(|read| read == b"bytes"))
    };
    assert_eq!(settle(None), SEEDS);
    assert!(settle(Some("/")) < SEEDS - 10);
    assert!(settle(Some("*tmp")) < SEEDS - 10);
}

#[test]
fn writes_tear_at_sectors_and_pages_choose_by_themselves() {
    if !available() {
        return;
    }
    let (fs, _dir) = mounted();
    let path = fs.path().join("file");
    write(&path, &[b'o'; 16384], true);
    sync_dir(fs.path());
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[b'n'; 16384], 0).unwrap();
    let mut shapes = BTreeSet::new();
    for seed in 0..SEEDS {
        let bytes = reads(&fs.crash(seed), "file").unwrap();
        let (sectors, rest) = bytes.as_chunks::<512>();
        assert!(rest.is_empty() && sectors.len() == 32);
        assert!(sectors.iter().all(|sector| [[b'o'; 512], [b'n'; 512]].contains(sector)), "torn within a sector");
        shapes.insert(sectors.iter().map(|sector| sector[0]).collect::<Vec<_>>());
    }
    let torn_page = |shape: &Vec<u8>| shape.chunks(8).any(|page| page.contains(&b'o') && page.contains(&b'n'));
    assert!(shapes.len() > 20 && shapes.iter().any(torn_page), "{} shapes", shapes.len());
}

#[test]
fn a_full_file_system_says_so_and_heals() {
    if !available() {
        return;
    }
    let (fs, _dir) = mounted();
    fs.set_capacity(Some(64 * 1024));
    let path = fs.path().join("file");
    let full = File::create(&path).unwrap().write_all(&[1; 65 * 1024]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    fs::remove_file(&path).unwrap();
    let file = File::create(&path).unwrap();
    let reserve = |bytes| rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes);
    assert_eq!(reserve(65 * 1024), Err(rustix::io::Errno::NOSPC));
    reserve(60 * 1024).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    assert_eq!(fs::write(fs.path().join("other"), [1; 8192]).unwrap_err().kind(), ErrorKind::StorageFull);
    let room = rustix::fs::statvfs(fs.path()).unwrap();
    assert_eq!(room.f_bavail * room.f_frsize, 4096);
    fs.set_capacity(None);
    fs::write(fs.path().join("other"), [1; 8192]).unwrap();
}

#[test]
fn after_a_crash_nothing_works_and_the_image_does() {
    if !available() {
        return;
    }
    let (fs, _dir) = mounted();
    write(&fs.path().join("file"), b"bytes", true);
    sync_dir(fs.path());
    fs.halt_after(1);
    fs::create_dir(fs.path().join("last")).unwrap();
    assert_eq!(fs::create_dir(fs.path().join("later")).unwrap_err().raw_os_error(), Some(5));
    let dir = tempfile::tempdir().unwrap();
    let again = fs.crash(1).mount(dir.path()).unwrap();
    assert_eq!(fs::read(again.path().join("file")).unwrap(), b"bytes");
    fs::rename(again.path().join("file"), again.path().join("moved")).unwrap();
    fs::hard_link(again.path().join("moved"), again.path().join("linked")).unwrap();
    fs::remove_dir_all(again.path().join("last")).ok();
    assert_eq!(fs::read_dir(again.path()).unwrap().count(), 2);
}

#[test]
fn it_unmounts_though_files_are_open() {
    if !available() {
        return;
    }
    let (fs, dir) = mounted();
    let mut open = File::create(fs.path().join("file")).unwrap();
    drop(fs);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "still mounted");
    open.write_all(b"bytes").unwrap();
}

/// Commits as many transactions as the disk lets it; returns how many were acknowledged.
fn commit_rows(fs: &TornFs, locking: &str) -> rusqlite::Result<i64> {
    let db = Connection::open(fs.path().join("db"))?;
    db.pragma_update(None, "locking_mode", locking)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // Small, so that checkpoints are among what is interrupted.
    db.pragma_update(None, "wal_autocheckpoint", 8)?;
    db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, filler BLOB)", ())?;
    // In the shared mode a second connection maps the index of the log as well.
    let reader = (locking == "NORMAL").then(|| Connection::open(fs.path().join("db"))).transpose()?;
    let count = |db: &Connection| db.query_row("SELECT count(*) FROM t", (), |row| row.get::<_, i64>(0));
    for n in 0..40 {
        if db.execute("INSERT INTO t VALUES (?, randomblob(700))", [n]).is_err() {
            return Ok(n);
        }
        // The disk may halt under the reader too, but it must not see fewer than were acknowledged.
        let seen = reader.as_ref().map(count).transpose();
        assert!(seen.is_err() || seen.is_ok_and(|seen| seen.is_none_or(|seen| seen == n + 1)));
    }
    Ok(40)
}

/// The rows that a crash left; none where SQLite cannot make sense of the files.
fn surviving_rows(image: &Image) -> rusqlite::Result<i64> {
    let dir = tempfile::tempdir().expect("a place to unpack");
    image.unpack(dir.path()).expect("unpacks");
    let db = Connection::open(dir.path().join("db"))?;
    let sound: String = db.query_row("PRAGMA integrity_check", (), |row| row.get(0))?;
    if sound != "ok" {
        return Ok(0);
    }
    db.query_row("SELECT count(*) FROM t WHERE n < (SELECT count(*) FROM t)", (), |row| row.get(0))
}

/// Crashes at many moments. In how many of them an acknowledged transaction was lost, and how many there were
/// of those in all.
fn crashes(fault: Option<&str>, locking: &str) -> (u64, i64) {
    let (mut lossy, mut acknowledged) = (0, 0);
    for seed in 0..SEEDS {
        let (fs, _dir) = mounted();
        fs.skip_syncs(fault);
        fs.halt_after(seed);
        // Where the table itself was not acknowledged there is nothing to lose.
        let Ok(rows) = commit_rows(&fs, locking) else { continue };
        let left = surviving_rows(&fs.crash(seed));
        acknowledged += rows;
        lossy += u64::from(!left.is_ok_and(|left| left >= rows));
    }
    (lossy, acknowledged)
}

#[test]
fn sqlite_keeps_every_committed_transaction() {
    if available() {
        for locking in ["EXCLUSIVE", "NORMAL"] {
            let (lossy, acknowledged) = crashes(None, locking);
            println!("{locking}: {acknowledged} transactions were acknowledged");
            assert_eq!(lossy, 0);
            assert!(acknowledged > 1000);
        }
    }
}

#[test]
fn sqlite_loses_transactions_without_syncs_of_its_files() {
    if available() {
        for fault in ["*-wal", "*db", "/"] {
            let (lossy, acknowledged) = crashes(Some(fault), "EXCLUSIVE");
            println!("without syncs of {fault}: {lossy} lossy crashes, {acknowledged} transactions");
            assert!(lossy > 5, "{fault}: {lossy}");
        }
    }
}
