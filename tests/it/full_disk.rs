//! The embedded store on a full disk: accepted work is finished, and new work is refused until there is space.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    daemon::{TestStore, WAHA, World},
    process::Process,
    wait::until,
};

const LINKS: usize = 60;
/// A quarter of the disk, which is smaller than four of the usual size.
const BALLAST: u64 = 6 << 20;

/// A disk of its own, in memory.
struct SmallFilesystem(tempfile::TempDir);

impl SmallFilesystem {
    /// `None` without the permission to mount.
    fn mount(mebibytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(directory))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// A file of another program takes all the space.
    fn fill(&self) {
        let mut file = File::create(self.path("filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }
}

impl Drop for SmallFilesystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// A world whose embedded store is on `disk`.
fn world_on(disk: &SmallFilesystem) -> World {
    let mut world = World::new(TestStore::directory());
    world.store = Some(format!("url = \"embedded:{}\"", disk.path("data").display()));
    world
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_lets_old_codes_finish() {
    let Some(disk) = SmallFilesystem::mount(24) else {
        println!("SKIPPED: cannot mount a tmpfs; run it as root");
        return;
    };
    let mut world = world_on(&disk);
    world.instance_lines = "[instance.limits]\nreplies_per_second = 1000\n".to_owned();
    let process = Process::start(&world).await;
    let ballast = disk.path("data/ballast");
    assert_eq!(length(&ballast), BALLAST);
    let mut texts = Vec::new();
    for _ in 0..LINKS {
        texts.push(process.mint(json!({})).await.unwrap().text_of("text"));
    }

    disk.fill();
    until("new work is refused", async || process.mint(json!({})).await.is_none()).await;
    until("status says why", async || {
        let status: Value = process.operator("/status").await.json;
        status["store"]["refusing"]["cause"] == "full" && status["store"]["last_error"]["cause"] == "full"
    })
    .await;
    assert!(!ballast.exists());
    let share = format!("countersign_instance_room_ratio{{instance_id=\"{WAHA}\"}}");
    let used = process.metric(&share).await;
    assert!(used > 0.0);
    for _ in 0..20 {
        assert!(process.mint(json!({})).await.is_none());
    }
    assert_eq!(process.metric(&share).await.to_bits(), used.to_bits(), "refused requests take none of the share");
    for (index, text) in texts.iter().enumerate() {
        assert!(process.send_message(&format!("4477009001{index:02}"), &format!("F{index}"), text).await, "{index}");
    }
    world.receiver.wait_for(LINKS).await;
    world.gateway.wait_for(LINKS).await;
    assert!(process.mint(json!({})).await.is_none(), "what was set aside is for old work");
    assert_eq!(process.operator("/readyz").await.status, 200);

    fs::remove_file(disk.path("filler")).unwrap();
    until("new work is taken again", async || process.mint(json!({})).await.is_some()).await;
    assert_eq!(length(&ballast), BALLAST);
    let (code, _, written) = process.terminate();
    assert_eq!(code, Some(0), "{written}");
}

/// A process that starts on a full disk refuses new work, and finishes pending work.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_on_a_full_disk_finishes_pending_work() {
    let Some(disk) = SmallFilesystem::mount(24) else {
        println!("SKIPPED: cannot mount a tmpfs; run it as root");
        return;
    };
    let world = world_on(&disk);
    let process = Process::start(&world).await;
    let text = process.mint(json!({})).await.unwrap().text_of("text");
    disk.fill();
    until("new work is refused", async || process.mint(json!({})).await.is_none()).await;
    process.kill();
    let process = Process::start(&world).await;
    assert!(process.mint(json!({})).await.is_none());
    assert!(process.send_message("447700900123", "S1", &text).await, "{}", process.output());
    world.receiver.wait_for(1).await;
    process.terminate();
}

/// The previous process was killed while it waited for the gateway, or has ended in order, which removes SQLite's log.
/// Then another program has filled the disk. Making the jobs due again needs space, and so does a new log.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_finds_the_disk_filled_finishes_pending_work() {
    for killed in [true, false] {
        let Some(disk) = SmallFilesystem::mount(24) else {
            println!("SKIPPED: cannot mount a tmpfs; run it as root");
            return;
        };
        let world = world_on(&disk);
        let process = Process::start(&world).await;
        let mut texts = Vec::new();
        for _ in 0..2 {
            texts.push(process.mint(json!({})).await.unwrap().text_of("text"));
        }
        world.gateway.hold();
        assert!(process.send_message("447700900123", "S1", &texts[0]).await, "{}", process.output());
        world.gateway.wait_for(1).await;
        if killed {
            process.kill();
        } else {
            process.terminate();
        }
        world.gateway.release();
        disk.fill();
        let process = Process::start(&world).await;
        assert!(process.mint(json!({})).await.is_none());
        assert!(process.send_message("447700900124", "S2", &texts[1]).await, "{}", process.output());
        world.receiver.wait_for(2).await;
        until("both are answered", async || {
            let chats: HashSet<String> =
                world.gateway.requests().iter().map(|reply| reply.json()["chatId"].to_string()).collect();
            chats.len() == 2
        })
        .await;
        process.terminate();
    }
}
