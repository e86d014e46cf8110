//! Backlogs that are written straight into Redis, with the daemon's own code.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign::{
    clock::Clock,
    domain::{Event, InstanceId, KeyRing, Partition, decision::Reply},
    jobs::payload::{self, CallbackJob, JobPayload, ReplyJob},
    random,
    store::{
        Change, CommitOutcome, Job, JobId, Jobs as _, Lane, MAX_HOLD, Operations as _, Records as _,
        redis::{Durability, RedisStore},
    },
};
use futures_util::{StreamExt as _, future::join_all, stream};
use serde_json::json;

use crate::daemon::{KEY, World};

/// Jobs of one change.
const TOGETHER: usize = 50;

pub(crate) struct Filler {
    store: RedisStore,
    keys: KeyRing,
}

impl Filler {
    /// Past any delaying proxy.
    pub(crate) async fn new(world: &World) -> Self {
        let store = RedisStore::new(&world.test_store.url(), Durability::Standard, Clock::default()).unwrap();
        store.probe().await.unwrap();
        let key = STANDARD.decode(KEY).unwrap().try_into().unwrap();
        Self { store, keys: KeyRing::new(&[key]).unwrap() }
    }

    /// Lets what was written be due.
    pub(crate) async fn release(&self, lanes: &[Lane]) {
        for ended in join_all(lanes.iter().map(|lane| self.store.hold(lane, self.store.now()))).await {
            ended.unwrap();
        }
    }

    /// How many jobs of a kind there are.
    pub(crate) async fn waiting(&self, kind: &str) -> u64 {
        let backlog = self.store.backlog().await.unwrap();
        backlog.iter().find(|one| one.kind == kind).map_or(0, |one| one.depth)
    }

    /// Held back until [`Filler::release`].
    pub(crate) async fn callbacks(&self, instance: InstanceId, url: &str, count: usize) -> Lane {
        let origin = url::Url::parse(url).unwrap().origin().ascii_serialization();
        let lane = Lane::callbacks(instance, self.keys.permanent_digest("origin", instance, origin.as_bytes()));
        let job = |_| {
            let seed = self.keys.permanent_digest("test callback", instance, &random::bytes::<16>());
            let work = JobPayload::Callback(CallbackJob {
                event: Event::Test,
                verification: None,
                webhook_id: format!("msg_{}", seed.hex()),
                url: url.to_owned(),
                body: json!({ "type": "callback.test", "data": { "uuid": seed.hex() } }).to_string(),
            });
            (JobId(format!("test:{}", seed.hex())), work)
        };
        self.write(instance, lane, (0..count).map(job)).await
    }

    /// Each to a chat of its own, held back until [`Filler::release`].
    pub(crate) async fn replies(&self, instance: InstanceId, count: usize) -> Lane {
        let job = |place| {
            let chat_id = format!("4479{place:08}@c.us");
            let chat = self.keys.permanent_digest("chat", instance, chat_id.as_bytes());
            let message = self.keys.permanent_digest("message", instance, &random::bytes::<16>());
            let work =
                JobPayload::Reply(ReplyJob { verification: None, reply: Reply::Success, chat_id, subject: None });
            (payload::reply_id(chat, message), work)
        };
        self.write(instance, Lane::replies(instance), (0..count).map(job)).await
    }

    async fn write(&self, instance: InstanceId, lane: Lane, work: impl Iterator<Item = (JobId, JobPayload)>) -> Lane {
        self.store.hold(&lane, self.store.now() + MAX_HOLD - Duration::from_mins(1)).await.unwrap();
        let jobs = work.map(|(id, work)| {
            let body = work.seal(&self.keys, instance, &id);
            Job { id, instance, lane: lane.clone(), due: None, body, lease: false }
        });
        let [mut place] = random::bytes::<1>();
        let mut changes = Vec::new();
        let mut jobs = jobs.peekable();
        while jobs.peek().is_some() {
            place = place.wrapping_add(1);
            changes.push(Change {
                partition: Partition::from_byte(place),
                records: Vec::new(),
                answers: None,
                jobs: jobs.by_ref().take(TOGETHER).collect(),
                valid_until: None,
                finishing: false,
            });
        }
        let written = stream::iter(&changes).map(|change| self.store.commit(change)).buffer_unordered(16);
        let written: Vec<_> = written.collect().await;
        assert!(written.iter().all(|one| matches!(one, Ok(CommitOutcome::Applied { .. }))), "{:?}", written.first());
        lane
    }
}
