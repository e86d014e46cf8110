//! Random walks through the protocol of codes: invariants that hold for any sequence of commands.

use std::collections::HashMap;

use countersign::domain::{
    Channel, Decision, DeliveryFailure, Effect, Event, InstanceId, KeyRing, NewVerification, Reason, Request,
    StateMachine as _, Status, TimelineEvent, Verification, VerificationId,
    otp::CodeFormat,
    sent_code::{COOLDOWN, CodeCommand, CodeState, CodeVerdict, Delivery, DeliveryReport, MessageStatus, SentCode},
    time::from_millis,
};
use proptest::prelude::*;

const START: i64 = 1_795_168_830_000;
const LIFETIME: i64 = 600_000;

fn code(channels: &[Channel], max_attempts: u32) -> Verification<SentCode> {
    let now = from_millis(START);
    let birth = NewVerification {
        id: VerificationId::new(1, [1; 10]),
        instance: InstanceId::from_random([1; 16]),
        key: KeyRing::new(&[[1; 32]]).unwrap().current_id(),
        nonce: [1; 16],
        created_at: now,
        expires_at: from_millis(START + LIFETIME),
        max_attempts,
    };
    let request = Request { chat: Some("447700900123".parse().unwrap()), ..Request::default() };
    Verification::code(birth, Delivery::new(CodeFormat::SIX_DIGITS, channels.to_vec(), None, now), request)
}

const BOTH: &[Channel] = &[Channel::WhatsApp, Channel::Sms];

const fn report(message: usize, report: DeliveryReport) -> CodeCommand {
    CodeCommand::Report { message, report }
}

const fn accepted(message: usize) -> CodeCommand {
    report(message, DeliveryReport::Accepted)
}

const fn delivered(message: usize) -> CodeCommand {
    report(message, DeliveryReport::Delivered)
}

const fn undelivered(message: usize, why: DeliveryFailure) -> CodeCommand {
    report(message, DeliveryReport::Undelivered(why))
}

const fn unknown(message: usize) -> CodeCommand {
    report(message, DeliveryReport::Unknown(DeliveryFailure::Timeout))
}

fn command() -> impl Strategy<Value = CodeCommand> {
    prop_oneof![
        2 => any::<bool>().prop_map(|correct| CodeCommand::Validate { correct, claim: None }),
        2 => Just(CodeCommand::Validate { correct: false, claim: None }),
        3 => Just(CodeCommand::Resend),
        1 => Just(CodeCommand::Replace),
        3 => (0usize..8).prop_map(accepted),
        3 => (0usize..8).prop_map(delivered),
        3 => (0usize..8).prop_map(|message| undelivered(message, DeliveryFailure::NotOnWhatsApp)),
        3 => (0usize..8).prop_map(unknown),
        1 => Just(CodeCommand::Cancel),
        2 => Just(CodeCommand::Expire),
        1 => Just(CodeCommand::Erase),
    ]
}

/// Every message there is belongs to an effect, and the other way round.
fn messages(record: &Verification<SentCode>) -> usize {
    record.details.delivery.messages.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_commands_keep_every_invariant(
        both in any::<bool>(), max_attempts in 1u32..6,
        steps in prop::collection::vec((command(), 0i64..80_000), 1..60),
    ) {
        let mut record = code(if both { BOTH } else { &BOTH[..1] }, max_attempts);
        let mut now = START;
        let mut callbacks: HashMap<(Event, u16), usize> = HashMap::new();
        let (mut queued, mut wrong, mut validated) = (1, 0, 0);
        for (command, wait) in steps {
            now += wait;
            let at = from_millis(now);
            let Decision { next, effects, verdict, valid_until } = SentCode::decide(&record, command, at);
            prop_assert!(valid_until.is_none_or(|until| until > at), "a decision is valid when it is taken");
            prop_assert!(effects.is_empty() || next.is_some(), "an effect without a change could occur twice");
            for effect in effects {
                match effect {
                    Effect::Callback(event) => *callbacks.entry((event, 0)).or_default() += 1,
                    Effect::CallbackForSend { event, send } => {
                        *callbacks.entry((event, send)).or_default() += 1;
                        if event == Event::CodeDelivered {
                            prop_assert!(callbacks.contains_key(&(Event::CodeSent, send)), "delivered before it was sent");
                        }
                    }
                    Effect::SendCode { message } => {
                        prop_assert_eq!(message, queued, "each message is queued once, in order");
                        queued += 1;
                    }
                    Effect::Reply(_) => prop_assert!(false, "no message was received"),
                }
            }
            match verdict {
                CodeVerdict::Failed(Reason::CodeWrong) => wrong += 1,
                CodeVerdict::Failed(Reason::AttemptsExhausted) if next.is_some() => wrong += 1,
                CodeVerdict::Validated => {
                    validated += 1;
                    prop_assert!(now < START + LIFETIME, "validated after its time");
                    let right = matches!(command, CodeCommand::Validate { correct: true, .. });
                    prop_assert!(right && wrong < max_attempts, "validated by a wrong code, or after too many");
                }
                _ => {}
            }
            if let Some(next) = next {
                let ended = record.ended_at().is_some();
                prop_assert!(!ended || next.details.state == record.details.state, "a terminal state was left");
                let unsent = matches!((&record.details.state, &next.details.state), (CodeState::Sent { .. }, CodeState::Pending));
                prop_assert!(!unsent, "what is sent stays sent");
                prop_assert_eq!(messages(&next), queued);
                prop_assert!(messages(&next) <= 40 && next.timeline.len() <= 40);
                let readable = |event: &TimelineEvent| TimelineEvent::parse(&event.to_string()) == *event;
                prop_assert!(next.timeline.iter().all(|entry| readable(&entry.event)));
                record = next;
            }
        }
        prop_assert!(validated <= 1 && wrong <= max_attempts);
        prop_assert!(callbacks.values().all(|times| *times == 1), "{callbacks:?}");
        let endings = [Event::CodeValidated, Event::CodeFailed, Event::CodeExpired, Event::CodeCanceled];
        let ended = endings.iter().filter(|event| callbacks.contains_key(&(**event, 0))).count();
        prop_assert_eq!(ended, usize::from(record.ended_at().is_some()), "one final callback");
    }
}

fn step(record: &mut Verification<SentCode>, command: CodeCommand, seconds: i64) -> (CodeVerdict, Vec<Effect>) {
    let decision = SentCode::decide(record, command, from_millis(START + seconds * 1000));
    if let Some(next) = decision.next {
        *record = next;
    }
    (decision.verdict, decision.effects)
}

#[test]
fn the_last_allowed_try_works_and_the_next_does_not() {
    let wrong = CodeCommand::Validate { correct: false, claim: None };
    let right = CodeCommand::Validate { correct: true, claim: None };
    let mut record = code(BOTH, 5);
    for _ in 0..4 {
        assert_eq!(step(&mut record, wrong, 1).0, CodeVerdict::Failed(Reason::CodeWrong));
    }
    assert_eq!(step(&mut record.clone(), right, 1).0, CodeVerdict::Validated);
    assert_eq!(step(&mut record, wrong, 1).0, CodeVerdict::Failed(Reason::AttemptsExhausted));
    assert_eq!(record.reason(), Some(Reason::AttemptsExhausted));
    assert_eq!(step(&mut record, right, 1).0, CodeVerdict::Failed(Reason::AttemptsExhausted));
    let record = code(BOTH, 5);
    assert_eq!(step(&mut record.clone(), right, 599).0, CodeVerdict::Validated);
    assert_eq!(step(&mut record.clone(), right, 600).0, CodeVerdict::Expired);
}

#[test]
fn a_used_code_is_reported_as_used() {
    let mut record = code(BOTH, 5);
    step(&mut record, CodeCommand::Validate { correct: true, claim: None }, 1);
    for correct in [true, false] {
        assert_eq!(
            step(&mut record, CodeCommand::Validate { correct, claim: None }, 700).0,
            CodeVerdict::Failed(Reason::CodeUsed)
        );
    }
}

#[test]
fn the_next_channel_is_used_until_none_is_left() {
    let mut record = code(BOTH, 5);
    let lost = |message| undelivered(message, DeliveryFailure::NotOnWhatsApp);
    assert_eq!(step(&mut record, lost(0), 1).1, [Effect::SendCode { message: 1 }]);
    assert_eq!(step(&mut record, lost(0), 1).1, [], "the callback is repeated");
    let sent = Effect::CallbackForSend { event: Event::CodeSent, send: 1 };
    assert_eq!(step(&mut record, accepted(1), 2).1, [sent]);
    assert_eq!(step(&mut record, lost(1), 3).1, [Effect::Callback(Event::CodeFailed)]);
    assert_eq!(record.reason(), Some(Reason::ReplyUndeliverable));
}

#[test]
fn an_uncertain_delivery_moves_on_once_and_ends_nothing() {
    let mut record = code(BOTH, 5);
    let lost = |message| undelivered(message, DeliveryFailure::Permanent);
    assert_eq!(step(&mut record, unknown(0), 1).1, [Effect::SendCode { message: 1 }]);
    assert_eq!(step(&mut record, unknown(0), 1).1, [], "the callback is repeated");
    assert_eq!(step(&mut record, lost(1), 2).1, []);
    assert_eq!((record.ended_at(), record.status(from_millis(START + 2))), (None, Status::Pending));
    let mut late = record.clone();
    let sent = Effect::CallbackForSend { event: Event::CodeSent, send: 1 };
    let arrived = Effect::CallbackForSend { event: Event::CodeDelivered, send: 1 };
    assert_eq!(step(&mut late, delivered(0), 3).1, [sent, arrived]);
    // Only a report that it will not arrive ends it, and nothing is sent a third time.
    assert_eq!(step(&mut record, lost(0), 3).1, [Effect::Callback(Event::CodeFailed)]);
}

#[test]
fn a_late_failure_does_not_affect_a_resend() {
    let mut record = code(&BOTH[..1], 5);
    step(&mut record, accepted(0), 1);
    assert_eq!(step(&mut record, CodeCommand::Resend, 59).0, CodeVerdict::TooSoon(from_millis(START) + COOLDOWN));
    assert_eq!(
        step(&mut record, CodeCommand::Resend, 60),
        (CodeVerdict::Resent, vec![Effect::SendCode { message: 1 }])
    );
    assert_eq!(step(&mut record, undelivered(0, DeliveryFailure::Permanent), 61).1, []);
    assert_eq!(record.ended_at(), None);
    let effects = step(&mut record, delivered(1), 62).1;
    let callbacks = |event| Effect::CallbackForSend { event, send: 2 };
    assert_eq!(effects, [callbacks(Event::CodeSent), callbacks(Event::CodeDelivered)]);
}

#[test]
fn a_send_starts_at_the_first_channel_that_has_not_failed() {
    let mut record = code(BOTH, 5);
    step(&mut record, undelivered(0, DeliveryFailure::NotOnWhatsApp), 1);
    step(&mut record, accepted(1), 1);
    step(&mut record, CodeCommand::Resend, 70);
    let message = record.details.delivery.messages[2];
    assert_eq!((message.channel, message.send, message.status), (Channel::Sms, 2, MessageStatus::Queued));
}
