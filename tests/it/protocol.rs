//! Random walks through `decide`: invariants that hold for any sequence of commands.

use countersign::domain::{
    ClaimId, Decision, Effect, Event, InstanceId, KeyRing, Mode, NewVerification, Reason, Request, Sender,
    StateMachine as _, Status, Subject, TimelineEvent, Verification, VerificationId,
    approval::Approval,
    binding::{Binding, MAX_REPLY_CODE_ATTEMPTS, WhatsAppDevice},
    decision::Reply,
    keys::Digest,
    link::{
        Completion, FinishCommand, FinishVerdict, Link, LinkCommand, LinkState, LinkVerdict, LoginProgress,
        MAX_REDEEM_TOKENS, MessageChecks, MessageText,
    },
    renewal::renewed_request,
    time::from_millis,
};
use proptest::prelude::*;

const START: i64 = 1_795_168_830_000;
const LIFETIME: i64 = 600_000;

fn ring() -> KeyRing {
    KeyRing::new(&[[1; 32]]).unwrap()
}

/// What an app can ask for.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
struct RequestOptions {
    bound: bool,
    challenge: bool,
    max_attempts: u32,
    mode: Mode,
    exact: bool,
    approval: bool,
}

fn request_options() -> impl Strategy<Value = RequestOptions> {
    let mode = prop_oneof![2 => Just(Mode::SameBrowser), 1 => Just(Mode::ProvePhone), 1 => Just(Mode::Anywhere)];
    let approval = prop::bool::weighted(0.2);
    (any::<bool>(), any::<bool>(), 1u32..4, mode, any::<bool>(), approval).prop_map(
        |(bound, challenge, max_attempts, mode, exact, approval)| {
            let mode = if approval { Mode::ProvePhone } else { mode };
            let bound = bound || mode == Mode::ProvePhone;
            RequestOptions { bound, challenge, max_attempts, mode, exact: exact || approval, approval }
        },
    )
}

fn verification(bound: bool, challenge: bool, max_attempts: u32) -> Verification<Link> {
    request(RequestOptions { bound, challenge, max_attempts, mode: Mode::SameBrowser, exact: false, approval: false })
}

fn request(
    RequestOptions { bound, challenge, max_attempts, mode, exact, approval }: RequestOptions,
) -> Verification<Link> {
    let birth = NewVerification {
        id: VerificationId::new(1, [1; 10]),
        instance: InstanceId::from_random([1; 16]),
        key: ring().current_id(),
        nonce: [1; 16],
        created_at: from_millis(START),
        expires_at: from_millis(START + LIFETIME),
        max_attempts,
    };
    let request = Request {
        chat: bound.then(|| "447700900123".parse().unwrap()),
        challenge: challenge.then(|| "right".to_owned()),
        completion: Some(mode),
        exact,
        approval: approval.then(Approval::default),
        ..Request::default()
    };
    Verification::link(birth, 14, request)
}

fn sender(kind: u8) -> Sender {
    match kind {
        0 => Sender::new(Some("447700900123".parse().unwrap()), None, None),
        1 => Sender::new(Some("447700900124".parse().unwrap()), None, None),
        2 => Sender::new(None, Some("190000000000117"), None),
        _ => Sender::new(None, None, Some("GB.10000000000001")),
    }
}

fn cookie(which: u8) -> Option<Digest> {
    (which > 0).then(|| ring().secret_digest(&[b'c', which]))
}

fn binding(which: u8, place: WhatsAppDevice, gently: bool) -> Binding {
    Binding { browser: cookie(which).unwrap(), whatsapp_device: place, ip: None, user_agent: None, automatic: gently }
}

fn presented_verifier(proof: u8) -> Option<String> {
    match proof {
        0 => None,
        1 => Some("right".to_owned()),
        _ => Some("wrong".to_owned()),
    }
}

/// The idempotency key of a caller; 0: none.
fn claim_of(caller: u8) -> Option<ClaimId> {
    (caller > 0).then(|| ClaimId::from_bytes([caller; 16]))
}

fn message_text() -> impl Strategy<Value = MessageText> {
    prop_oneof![Just(MessageText::Prefilled), Just(MessageText::Rejection), Just(MessageText::Changed)]
}

fn command() -> impl Strategy<Value = LinkCommand> {
    let token = |which: u8| ring().secret_digest(&[which]);
    prop_oneof![
        4 => (0u8..4, any::<bool>(), message_text(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(who, brackets_missing, text, may_reply, forgeable)| {
            let checks = MessageChecks { brackets_missing, text, forgeable };
            LinkCommand::Receive { sender: sender(who), push_name: None, checks, risk: None, may_reply }
        }),
        1 => Just(LinkCommand::Cancel),
        2 => Just(LinkCommand::Expire),
        4 => (0u8..6, 0u8..3, any::<bool>()).prop_map(move |(which, browser, may_reveal_code)| FinishCommand::Complete {
            token: token(which), browser: cookie(browser), may_reveal_code, risk: None,
        }.into()),
        3 => (1u8..3, any::<bool>(), any::<bool>()).prop_map(|(browser, qr, automatic)| LinkCommand::BindBrowser {
            binding: binding(browser, if qr { WhatsAppDevice::Other } else { WhatsAppDevice::Same }, automatic),
        }),
        1 => Just(FinishCommand::RevealCode.into()),
        1 => (0u8..6, 0u8..3).prop_map(move |(which, browser)| FinishCommand::Continue {
            token: token(which), browser: cookie(browser), risk: None,
        }.into()),
        2 => (0u8..6, 0u8..3, any::<bool>()).prop_map(move |(which, browser, correct)| FinishCommand::EnterCode {
            token: token(which), browser: cookie(browser), correct, risk: None,
        }.into()),
        1 => (any::<bool>(), 0u8..3, 0u8..3).prop_map(|(correct, proof, caller)| FinishCommand::RedeemCode {
            correct, challenge: presented_verifier(proof), claim: claim_of(caller), risk: None,
        }.into()),
        3 => (0u8..7, 0u8..3, 0u8..3).prop_map(move |(which, proof, caller)| LinkCommand::Redeem {
            token: token(which),
            challenge: presented_verifier(proof),
            claim: claim_of(caller),
        }),
        1 => Just(LinkCommand::Dispute),
        1 => Just(LinkCommand::Erase),
    ]
}

/// How far along a state is; nothing ever goes back.
fn rank(record: &Verification<Link>) -> u8 {
    match &record.details.state {
        LinkState::Pending => 0,
        LinkState::Failed { .. } | LinkState::Expired { .. } | LinkState::Canceled { .. } => 9,
        LinkState::Verified { completion, .. } => match completion {
            Completion::Offered { .. } => 1,
            Completion::Released { tokens, .. } => {
                assert!((1..=MAX_REDEEM_TOKENS).contains(&tokens.len()));
                2
            }
            Completion::Redeemed { .. } | Completion::Lapsed { .. } => 3,
            Completion::Disputed { .. } => 4,
            Completion::NotOffered => 5,
        },
    }
}

/// Before its time, so that only the state decides.
fn status(record: &Verification<Link>) -> Status {
    record.status(from_millis(START))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_commands_keep_every_invariant(
        asked in request_options(),
        steps in prop::collection::vec((command(), 0i64..200_000), 1..40),
    ) {
        let RequestOptions { bound, challenge, mode, exact, approval, .. } = asked;
        let mut record = request(asked);
        let (mut agreed, mut disputed) = (false, false);
        let mut now = START;
        let mut sent_events: Vec<Event> = Vec::new();
        let (mut successes, mut redeemed, mut misses) = (0, 0, 0);
        let mut redeemer = None;
        // Tokens that are out, with their ends, the last one last; and who had the first.
        let mut out: Vec<(Digest, i64)> = Vec::new();
        let mut first: Option<(Option<Digest>, i64)> = None;
        for (mut command, wait) in steps {
            now += wait;
            if let LinkCommand::Receive { checks, .. } = &mut command {
                // Only an approval has an answer that rejects.
                if !approval && checks.text == MessageText::Rejection {
                    checks.text = MessageText::Changed;
                }
            }
            let at = from_millis(now);
            let Decision { next, effects, verdict, valid_until } = Link::decide(&record, command.clone(), at);
            prop_assert!(valid_until.is_none_or(|until| until > at), "a decision is valid when it is taken");

            for effect in &effects {
                match effect {
                    Effect::Callback(event) => {
                        prop_assert!(!sent_events.contains(event), "{event:?} twice");
                        prop_assert!(next.is_some(), "an event without a change could occur twice");
                        sent_events.push(*event);
                    }
                    Effect::CallbackForSend { .. } | Effect::SendCode { .. } => prop_assert!(false, "a link sends no code"),
                    Effect::Reply(reply) => {
                        let received = matches!(command, LinkCommand::Receive { .. });
                        prop_assert!(received, "only a message is answered");
                        let succeeded = matches!(verdict, LinkVerdict::Verified | LinkVerdict::Repeated);
                        if approval {
                            let state = &next.as_ref().unwrap_or(&record).details.state;
                            let rejected = matches!(state, LinkState::Failed { reason: Reason::Rejected, .. });
                            prop_assert!(*reply != Reply::Approved || matches!(state, LinkState::Verified { .. }), "told what is not so");
                            prop_assert!(*reply != Reply::Rejected || rejected, "told what is not so");
                            prop_assert!(!succeeded || *reply == Reply::Approved);
                        } else {
                            prop_assert_eq!(matches!(reply, Reply::Success | Reply::WithCode | Reply::NoActionNeeded), succeeded);
                        }
                        if *reply == Reply::NoActionNeeded {
                            prop_assert!(exact && mode == Mode::ProvePhone, "nothing to tap, and nothing was read");
                        }
                        if *reply == Reply::Success && !challenge && mode == Mode::SameBrowser {
                            let qr = record.details.binding.as_ref().is_some_and(|held| held.whatsapp_device == WhatsAppDevice::Other);
                            prop_assert!(!qr, "a scanning phone got a link");
                        }
                    }
                }
            }
            prop_assert!(effects.iter().filter(|effect| matches!(effect, Effect::Reply(_))).count() <= 1);
            if let LinkCommand::Receive { may_reply, .. } = command {
                let replied = effects.iter().any(|effect| matches!(effect, Effect::Reply(_)));
                let decided = matches!(verdict, LinkVerdict::Verified | LinkVerdict::Rejected);
                prop_assert_eq!(replied, may_reply || decided, "a success and a rejection are always answered");
            }
            if let (true, LinkCommand::Receive { checks, .. }) = (exact, &command) {
                prop_assert!(checks.text == MessageText::Prefilled || verdict != LinkVerdict::Verified, "another text counted");
                prop_assert!(checks.text == MessageText::Rejection || verdict != LinkVerdict::Rejected, "another text rejected");
            }
            if let (Mode::ProvePhone, LinkCommand::Receive { checks, .. }) = (mode, &command) {
                prop_assert!(!checks.forgeable || verdict != LinkVerdict::Verified, "a sender that can be forged proved a number");
            }
            if verdict == LinkVerdict::Failed(Reason::TextChanged) {
                prop_assert_eq!(next.as_ref().map(|next| next.attempts), Some(record.attempts), "it costs nothing");
            }
            if approval {
                let finishes = matches!(verdict, LinkVerdict::Finish(verdict) if !matches!(verdict, FinishVerdict::Refused | FinishVerdict::Gone));
                prop_assert!(!finishes, "an approval has nothing to finish: {verdict:?}");
            }
            if matches!(verdict, LinkVerdict::Verified | LinkVerdict::Rejected) {
                successes += usize::from(verdict == LinkVerdict::Verified);
                prop_assert!(now < START + LIFETIME, "decided after its time");
                if let (true, LinkCommand::Receive { sender, .. }) = (bound, &command) {
                    let subject = Subject::Phone("447700900123".parse().unwrap());
                    prop_assert_eq!(sender.matches(&subject), Some(true), "verified for another sender");
                }
            }
            let held = record.details.binding.as_ref().map(|held| held.browser);
            if matches!(verdict, LinkVerdict::Finish(FinishVerdict::Completed | FinishVerdict::CompletedAgain)) {
                let LinkCommand::Finish(
                    FinishCommand::Complete { token, browser, .. }
                    | FinishCommand::Continue { token, browser, .. }
                    | FinishCommand::EnterCode { token, browser, .. },
                ) = command
                else { panic!("{command:?} completes") };
                match (verdict, first) {
                    (LinkVerdict::Finish(FinishVerdict::Completed), None) => first = Some((browser, now)),
                    (LinkVerdict::Finish(FinishVerdict::CompletedAgain), Some((by, since))) => {
                        prop_assert!(by.is_some() && by == browser, "another browser asked again");
                        prop_assert!(out.iter().any(|(_, until)| now < *until), "a repeat after the last token");
                        prop_assert!(now - since < 720_000, "repeats go on for ever");
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                out.push((token, now + 60_000));
            }
            agreed |= verdict == LinkVerdict::Finish(FinishVerdict::Agreed);
            if let (LinkVerdict::Finish(FinishVerdict::Completed), LinkCommand::Finish(FinishCommand::Continue { browser, .. })) = (verdict, &command) {
                prop_assert!(mode == Mode::ProvePhone && *browser == held, "a page went on that does not wait");
                prop_assert!(exact || agreed, "completed without consent");
            }
            if verdict == LinkVerdict::Finish(FinishVerdict::Disputed) && next.is_some() {
                disputed = true;
                let reached = next.as_ref().map(|next| next.details.state.clone());
                let Some(LinkState::Verified { completion: Completion::Disputed { after, .. }, .. }) = reached else {
                    panic!("{reached:?} is not disputed")
                };
                prop_assert_eq!(after == LoginProgress::Redeemed, redeemed == 1, "the callback states whether the login was redeemed");
            } else if disputed {
                let worth = matches!(verdict, LinkVerdict::Finish(
                    FinishVerdict::Completed | FinishVerdict::CompletedAgain | FinishVerdict::Redeemed
                    | FinishVerdict::RedeemedAgain | FinishVerdict::Agreed | FinishVerdict::CodeRevealed
                ));
                prop_assert!(!worth, "{verdict:?} after a dispute");
            }
            if let (LinkVerdict::Finish(FinishVerdict::Completed), LinkCommand::Finish(FinishCommand::Complete { browser, .. } | FinishCommand::EnterCode { browser, .. })) = (verdict, &command) {
                let free = mode == Mode::Anywhere || challenge && mode == Mode::SameBrowser;
                let own = held.is_none() || free || *browser == held;
                prop_assert!(own, "another browser finished");
                if let LinkCommand::Finish(FinishCommand::EnterCode { browser, correct, .. }) = &command {
                    prop_assert!(*correct && *browser == held, "a code opened what it should not");
                }
            }
            if matches!(command, LinkCommand::Finish(FinishCommand::EnterCode { correct: false, .. } | FinishCommand::RedeemCode { correct: false, .. })) {
                prop_assert!(!matches!(verdict, LinkVerdict::Finish(FinishVerdict::Completed | FinishVerdict::CompletedAgain | FinishVerdict::Redeemed)));
            }
            if !matches!(record.details.state, LinkState::Pending) && let Some(next) = &next {
                prop_assert_eq!(next.details.binding.as_ref().map(|held| held.browser), held, "the match freezes the browser");
            }
            if verdict == LinkVerdict::Finish(FinishVerdict::WrongCode) {
                misses += 1;
                prop_assert!(misses < MAX_REPLY_CODE_ATTEMPTS, "more tries than there are");
            }
            if verdict == LinkVerdict::Finish(FinishVerdict::Redeemed) {
                redeemed += 1;
                if let LinkCommand::Redeem { token, .. } = command {
                    let newest = out.iter().rev().take(MAX_REDEEM_TOKENS);
                    let live = newest.filter(|(_, until)| now < *until).any(|(out, _)| *out == token);
                    prop_assert!(live, "a token that is not out was redeemed");
                }
                if let LinkCommand::Redeem { challenge: shown, claim, .. } | LinkCommand::Finish(FinishCommand::RedeemCode { challenge: shown, claim, .. }) = &command {
                    prop_assert!(!challenge || shown.as_deref() == Some("right"));
                    redeemer = *claim;
                }
            }
            if verdict == LinkVerdict::Finish(FinishVerdict::RedeemedAgain) && let LinkCommand::Redeem { challenge: shown, claim, .. } | LinkCommand::Finish(FinishCommand::RedeemCode { challenge: shown, claim, .. }) = &command {
                prop_assert_eq!(redeemed, 1);
                prop_assert!(!challenge || shown.as_deref() == Some("right"));
                prop_assert!(challenge || claim.is_some() && *claim == redeemer, "repeated to another caller");
            }
            if let Some(next) = next {
                prop_assert!(rank(&next) >= rank(&record), "{:?} after {:?}", next.details.state, record.details.state);
                let ended = record.ended_at().is_some();
                prop_assert!(!ended || status(&next) == status(&record), "a terminal state was left");
                prop_assert!(next.timeline.len() <= 40);
                let readable = |event: &TimelineEvent| TimelineEvent::parse(&event.to_string()) == *event;
                prop_assert!(next.timeline.iter().all(|entry| readable(&entry.event)));
                record = next;
            }
            // The same token from another caller, and another token from the same one: a redemption ends all tokens.
            if let (LinkVerdict::Finish(FinishVerdict::Redeemed), LinkCommand::Redeem { token, challenge: shown, claim }) = (verdict, &command) {
                let redeem = |token, claim| {
                    let command = LinkCommand::Redeem { token, challenge: shown.clone(), claim };
                    Link::decide(&record, command, at).verdict
                };
                let expected = if challenge { FinishVerdict::RedeemedAgain } else { FinishVerdict::Gone };
                prop_assert_eq!(redeem(*token, claim_of(9)), LinkVerdict::Finish(expected));
                prop_assert_eq!(redeem(ring().secret_digest(&[9]), *claim), LinkVerdict::Finish(FinishVerdict::Gone));
            }
            // The same form or call once more, because its response was lost: no callback is repeated.
            if !matches!(command, LinkCommand::Receive { .. }) {
                let again = Link::decide(&record, command.clone(), at);
                prop_assert_eq!(&again.effects, &[], "{:?} again", command);
                let by = match &command {
                    LinkCommand::Finish(
                        FinishCommand::Complete { browser, .. } | FinishCommand::Continue { browser, .. } | FinishCommand::EnterCode { browser, .. },
                    ) => *browser,
                    _ => None,
                };
                let same = match verdict {
                    LinkVerdict::Finish(FinishVerdict::Completed | FinishVerdict::CompletedAgain) if by.is_some() => LinkVerdict::Finish(FinishVerdict::CompletedAgain),
                    LinkVerdict::Finish(FinishVerdict::Redeemed) if challenge || redeemer.is_some() => LinkVerdict::Finish(FinishVerdict::RedeemedAgain),
                    LinkVerdict::Finish(FinishVerdict::Completed | FinishVerdict::Redeemed) => LinkVerdict::Finish(FinishVerdict::Gone),
                    LinkVerdict::Bound | LinkVerdict::Canceled => LinkVerdict::Unchanged,
                    // Wrong tries are counted, and what has ended answers as what it is.
                    LinkVerdict::Finish(FinishVerdict::WrongCode | FinishVerdict::Refused | FinishVerdict::Gone) | LinkVerdict::Expired => continue,
                    other => other,
                };
                prop_assert_eq!(again.verdict, same, "{:?} again", command);
            }
        }
        prop_assert!(successes <= 1 && redeemed <= 1);
        prop_assert_eq!(sent_events.contains(&Event::LinkVerified), successes == 1);
        let endings = [Event::LinkVerified, Event::LinkFailed, Event::LinkExpired, Event::LinkCanceled];
        let ended = endings.iter().filter(|event| sent_events.contains(event)).count();
        prop_assert_eq!(ended, usize::from(record.ended_at().is_some()), "one final callback");
    }
}

proptest! {
    /// A chain of links that are made anew: only by the browser that waited, in time, and as often as was allowed.
    #[test]
    fn renewals_stay_within_their_limits(
        most in 0u32..5, purpose in any::<bool>(), last in any::<bool>(),
        taps in prop::collection::vec((0u8..3, 0u8..3, -60_000i64..4_000_000, any::<bool>()), 1..12),
    ) {
        let mut record = verification(true, false, 3);
        record.request.purpose = purpose.then(|| "Pay 9 EUR".to_owned());
        record.request.final_expiry = last;
        let (mut now, mut made) = (START, 0);
        for (tapped, asking, late, canceled) in taps {
            record.details.binding = (tapped > 0).then(|| binding(tapped, WhatsAppDevice::Same, false));
            if canceled && asking == 0 {
                record = Link::decide(&record, LinkCommand::Cancel, from_millis(now)).next.unwrap_or(record);
            }
            now += LIFETIME + late;
            let Some(next) = renewed_request(&record, cookie(asking), most, from_millis(now)) else {
                let allowed = asking > 0 && asking == tapped && (0..3_600_000).contains(&late);
                prop_assert!(!allowed || purpose || last || made == most || !matches!(record.details.state, LinkState::Pending));
                break;
            };
            prop_assert!(!purpose && !last && (0..3_600_000).contains(&late));
            prop_assert!(asking == tapped && asking > 0, "another browser");
            prop_assert_eq!((next.renews, u32::from(next.renewals)), (Some(record.id), made + 1));
            let before = Request { renews: next.renews, renewals: next.renewals, ..record.request.clone() };
            prop_assert_eq!(&before, &next, "what was asked for");
            made += 1;
            prop_assert!(made <= most);
            let birth = NewVerification {
                id: VerificationId::new(u64::from(made) + 1, [1; 10]),
                instance: record.instance,
                key: record.key,
                nonce: record.nonce,
                        created_at: from_millis(now),
                expires_at: from_millis(now + LIFETIME),
                max_attempts: 3,
            };
            record = Verification::link(birth, 14, next);
        }
    }
}

#[test]
fn wrong_senders_end_a_link_only_after_the_allowed_attempts() {
    let mut record = verification(true, false, 3);
    for left in [2, 1, 0] {
        let decision = Link::decide(
            &record,
            LinkCommand::Receive {
                sender: sender(1),
                push_name: None,
                checks: MessageChecks::default(),
                risk: None,
                may_reply: true,
            },
            from_millis(START),
        );
        record = decision.next.unwrap();
        assert_eq!(status(&record) == Status::Failed, left == 0);
    }
    assert_eq!(record.reason().unwrap().as_str(), "attempts_exhausted");
    let mut once = verification(true, false, 1);
    let decision = Link::decide(
        &once,
        LinkCommand::Receive {
            sender: sender(1),
            push_name: None,
            checks: MessageChecks::default(),
            risk: None,
            may_reply: true,
        },
        from_millis(START),
    );
    once = decision.next.unwrap();
    assert_eq!(once.reason().unwrap().as_str(), "sender_mismatch");
}

#[test]
fn a_link_is_valid_until_exactly_its_expiry() {
    let receive = || LinkCommand::Receive {
        sender: sender(0),
        push_name: None,
        checks: MessageChecks::default(),
        risk: None,
        may_reply: true,
    };
    let record = verification(false, false, 1);
    assert_eq!(Link::decide(&record, receive(), from_millis(START + LIFETIME - 1)).verdict, LinkVerdict::Verified);
    assert_eq!(Link::decide(&record, receive(), from_millis(START + LIFETIME)).verdict, LinkVerdict::Expired);
    assert_eq!(
        Link::decide(&record, LinkCommand::Expire, from_millis(START + LIFETIME - 1)).verdict,
        LinkVerdict::Unchanged
    );
}

#[test]
fn five_wrong_verifiers_end_a_redeem_token() {
    let at = |offset: i64| from_millis(START + offset);
    let token = ring().secret_digest(b"t");
    let mut record = verification(false, true, 1);
    for command in [
        LinkCommand::Receive {
            sender: sender(0),
            push_name: None,
            checks: MessageChecks::default(),
            risk: None,
            may_reply: true,
        },
        FinishCommand::Complete { token, browser: None, may_reveal_code: true, risk: None }.into(),
    ] {
        record = Link::decide(&record, command, at(1)).next.unwrap();
    }
    let redeem = |challenge: &str| LinkCommand::Redeem { token, challenge: Some(challenge.to_owned()), claim: None };
    for _ in 0..4 {
        let decision = Link::decide(&record, redeem("wrong"), at(2));
        assert_eq!(decision.verdict, LinkVerdict::Finish(FinishVerdict::Refused));
        record = decision.next.unwrap();
    }
    assert_eq!(Link::decide(&record, redeem("right"), at(3)).verdict, LinkVerdict::Finish(FinishVerdict::Redeemed));
    assert_eq!(
        Link::decide(&record, redeem("right"), at(60_001)).verdict,
        LinkVerdict::Finish(FinishVerdict::Gone),
        "60 seconds"
    );
    record = Link::decide(&record, redeem("wrong"), at(2)).next.unwrap();
    assert_eq!(Link::decide(&record, redeem("right"), at(3)).verdict, LinkVerdict::Finish(FinishVerdict::Gone));
}

#[test]
fn the_last_three_redeem_tokens_are_valid() {
    let at = |offset: i64| from_millis(START + offset);
    let token = |which: u8| ring().secret_digest(&[which]);
    let complete = |which: u8, browser: u8| {
        LinkCommand::from(FinishCommand::Complete {
            token: token(which),
            browser: cookie(browser),
            may_reveal_code: true,
            risk: None,
        })
    };
    let redeem = |which: u8| LinkCommand::Redeem { token: token(which), challenge: None, claim: None };
    let mut record = verification(false, false, 1);
    record = Link::decide(
        &record,
        LinkCommand::Receive {
            sender: sender(0),
            push_name: None,
            checks: MessageChecks::default(),
            risk: None,
            may_reply: true,
        },
        at(0),
    )
    .next
    .unwrap();
    for which in 0..4 {
        let decision = Link::decide(&record, complete(which, 1), at(i64::from(which) * 1000));
        assert_eq!(
            decision.verdict,
            if which == 0 {
                LinkVerdict::Finish(FinishVerdict::Completed)
            } else {
                LinkVerdict::Finish(FinishVerdict::CompletedAgain)
            }
        );
        record = decision.next.unwrap();
    }
    for other in [0, 2] {
        assert_eq!(
            Link::decide(&record, complete(9, other), at(5000)).verdict,
            LinkVerdict::Finish(FinishVerdict::Gone),
            "another browser"
        );
    }
    assert_eq!(Link::decide(&record, redeem(0), at(5000)).verdict, LinkVerdict::Finish(FinishVerdict::Refused));
    for which in 1..4 {
        let end = 60_000 + i64::from(which) * 1000;
        assert_eq!(
            Link::decide(&record, redeem(which), at(end - 1)).verdict,
            LinkVerdict::Finish(FinishVerdict::Redeemed)
        );
        assert_eq!(
            Link::decide(&record, redeem(which), at(end)).verdict,
            LinkVerdict::Finish(FinishVerdict::Gone),
            "a minute each"
        );
    }
    assert_eq!(
        Link::decide(&record, complete(9, 1), at(62_999)).verdict,
        LinkVerdict::Finish(FinishVerdict::CompletedAgain)
    );
    assert_eq!(Link::decide(&record, complete(9, 1), at(63_000)).verdict, LinkVerdict::Finish(FinishVerdict::Gone));
    record = Link::decide(&record, redeem(1), at(6000)).next.unwrap();
    for which in 1..4 {
        assert_eq!(
            Link::decide(&record, redeem(which), at(7000)).verdict,
            LinkVerdict::Finish(FinishVerdict::Gone),
            "one redemption ends all"
        );
    }
    assert_eq!(Link::decide(&record, complete(9, 1), at(7000)).verdict, LinkVerdict::Finish(FinishVerdict::Gone));
}
