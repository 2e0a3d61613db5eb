//! What is written is what is read, and nothing else is.

use proptest::prelude::*;

use super::*;
use crate::rotation::{
    operation::{Kind, Parked, State, Step},
    refusal::Refusal,
};

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn record(byte: u8) -> SlotRecord {
    SlotRecord {
        digest: digest(byte),
        standing: Standing::Settled,
        regenerated: 1_800_000_000,
        by: By::Us,
        retired: vec![digest(0)],
        replaced: Vec::new(),
    }
}

fn journal() -> Journal {
    Journal {
        version: VERSION,
        generation: 100,
        active: Slot::Primary,
        slots: PerSlot { primary: record(1), secondary: record(2) },
        frozen: false,
        open: None,
        owed: None,
        last_success: Some(1_800_000_000),
        next_operation: OperationId(2),
        operations: vec![Operation {
            id: OperationId(1),
            kind: Kind::Regenerate,
            slot: Slot::Secondary,
            origin: Origin::Asked,
            began: 1_799_999_900,
            ended: Some(1_800_000_000),
            state: State::Done,
        }],
    }
}

fn error(bytes: &[u8]) -> String {
    Journal::from_bytes(bytes).unwrap_err().to_string()
}

#[test]
fn the_format_stays_as_it_is() {
    // A change here is another format: another `VERSION`, and a sentence for who has the old one.
    let mut journal = journal();
    journal.slots = PerSlot { primary: SlotRecord { retired: Vec::new(), ..record(1) }, ..journal.slots };
    journal.slots.secondary.retired.clear();
    let text = String::from_utf8(journal.to_bytes().unwrap()).unwrap();
    let (one, two) = ("01".repeat(32), "02".repeat(32));
    let expected = format!(
        r#"{{
  "version": 1,
  "generation": 100,
  "active": "primary",
  "slots": {{
    "primary": {{
      "digest": "{one}",
      "standing": "settled",
      "regenerated": 1800000000,
      "by": "us",
      "retired": [],
      "replaced": []
    }},
    "secondary": {{
      "digest": "{two}",
      "standing": "settled",
      "regenerated": 1800000000,
      "by": "us",
      "retired": [],
      "replaced": []
    }}
  }},
  "frozen": false,
  "open": null,
  "owed": null,
  "last_success": 1800000000,
  "next_operation": 2,
  "operations": [
    {{
      "id": 1,
      "kind": "regenerate",
      "slot": "secondary",
      "origin": "asked",
      "began": 1799999900,
      "ended": 1800000000,
      "state": {{
        "state": "done"
      }}
    }}
  ]
}}
"#
    );
    assert_eq!(text, expected);
}

#[test]
fn what_is_no_journal_is_refused_with_a_sentence() {
    for damaged in [&b""[..], b"{", b"null", b"[]", b"\xff\xfe", b"{\"version\":1}", b"{\"version\":\"1\"}"] {
        assert!(error(damaged).starts_with("this is no journal of scoregate's, or a damaged one ("), "{damaged:?}");
    }
    assert_eq!(
        error(b"{\"version\": 2, \"who\": \"knows\"}"),
        "journal of format 2, this scoregate reads 1: start the scoregate that wrote it, or set the file aside to begin anew"
    );
}

#[test]
fn a_journal_that_broke_off_or_has_more_than_we_write_is_refused() {
    let bytes = journal().to_bytes().unwrap();
    for length in 0..bytes.len() - 2 {
        assert!(Journal::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(Journal::from_bytes(&[&bytes[..], b"{}"].concat()).is_err());
    let text = String::from_utf8(bytes).unwrap();
    assert!(error(text.replace("\"frozen\"", "\"thawed\"").as_bytes()).contains("unknown field `thawed`"));
}

#[test]
fn what_cannot_be_is_refused() {
    let open = |slot, next| Open {
        operation: OperationId(3),
        slot,
        origin: Origin::Asked,
        began: 1_800_000_000,
        until: None,
        next,
        set_key: None,
        intent: Some(Intent { before: PerSlot { primary: digest(1), secondary: digest(2) }, address: None }),
    };
    let of = |open| Journal { open: Some(open), ..journal() }.to_bytes().unwrap();
    assert!(Journal::from_bytes(&of(open(Slot::Secondary, None))).is_ok());
    assert!(error(&of(open(Slot::Primary, None))).contains("the slot being regenerated is the active one"));
    assert!(error(&of(open(Slot::Secondary, Some(Slot::Secondary)))).contains("is to be regenerated next"));
    let mut long = journal();
    long.slots.primary.retired = vec![digest(9); RETIRED + 1];
    assert!(error(&long.to_bytes().unwrap()).contains("longer than is ever written"));
}

#[test]
fn one_service_has_one_name_however_it_is_written() {
    let id =
        "/subscriptions/S/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/W/onlineEndpoints/E";
    let name = service_name(id);
    assert_eq!(name, service_name(&id.to_uppercase()));
    assert_eq!(name, service_name(&id.replace("resourceGroups", "resourcegroups")));
    assert_ne!(name, service_name(&id.replace("/E", "/F")));
    assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

fn any_slot() -> impl Strategy<Value = Slot> {
    prop::sample::select(Slot::BOTH.to_vec())
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn any_record() -> impl Strategy<Value = SlotRecord> {
    let standing = prop::sample::select(vec![Standing::Fresh, Standing::Newest, Standing::Spare, Standing::Settled]);
    let by = prop::sample::select(vec![By::Us, By::Outside, By::Unknown]);
    let list = || prop::collection::vec(any_digest(), 0..=RETIRED);
    (any_digest(), standing, any::<u64>(), by, list(), list()).prop_map(
        |(digest, standing, regenerated, by, retired, replaced)| SlotRecord {
            digest,
            standing,
            regenerated,
            by,
            retired,
            replaced,
        },
    )
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let min_gap = |slot, seconds: u32| Refusal::MinGap {
        slot,
        ago: std::time::Duration::from_secs(seconds.into()),
        wait: std::time::Duration::from_secs(1),
    };
    let state = prop_oneof![
        Just(State::Done),
        Just(State::Cancelled),
        Just(State::Unchanged),
        any::<u16>().prop_map(|status| State::Failed { status }),
        (any_slot(), any::<u32>()).prop_map(move |(slot, ago)| State::Refused { refusal: min_gap(slot, ago) }),
        any::<u64>().prop_map(|operation| State::Refused { refusal: Refusal::Busy { operation } }),
        Just(State::Running { step: Step::ReadBack, parked: Some(Parked::Unchanged) }),
    ];
    let kind = prop::sample::select(vec![Kind::Regenerate, Kind::Rollback, Kind::Adoption]);
    let origin = prop::sample::select(vec![Origin::Asked, Origin::Leaked, Origin::Scheduled, Origin::Outside]);
    (any::<u64>(), kind, any_slot(), origin, any::<u64>(), any::<Option<u64>>(), state).prop_map(
        |(id, kind, slot, origin, began, ended, state)| Operation {
            id: OperationId(id),
            kind,
            slot,
            origin,
            began,
            ended,
            state,
        },
    )
}

fn any_open() -> impl Strategy<Value = Open> {
    let intent = (any_digest(), any_digest(), any::<Option<String>>()).prop_map(|(primary, secondary, address)| {
        Intent { before: PerSlot { primary, secondary }, address: address.map(Into::into) }
    });
    (
        any::<u64>(),
        any_slot(),
        any::<Option<u64>>(),
        any::<bool>(),
        prop::option::of(any_digest()),
        prop::option::of(intent),
    )
        .prop_map(|(began, slot, until, twice, set_key, intent)| Open {
            operation: OperationId(began),
            slot,
            origin: Origin::Leaked,
            began,
            until,
            next: twice.then_some(slot.other()),
            set_key,
            intent,
        })
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(
        generation: u64,
        frozen: bool,
        primary in any_record(),
        secondary in any_record(),
        open in prop::option::of(any_open()),
        active in any_slot(),
        owed in prop::option::of(any_slot()),
        last_success: Option<u64>,
        operations in prop::collection::vec(any_operation(), 0..5),
    ) {
        let active = open.as_ref().filter(|open| open.intent.is_some()).map_or(active, |open| open.slot.other());
        let slots = PerSlot { primary, secondary };
        let next_operation = OperationId(generation);
        let journal = Journal {
            version: VERSION, generation, active, slots, frozen, open, owed, last_success, next_operation, operations,
        };
        prop_assert_eq!(Journal::from_bytes(&journal.to_bytes().unwrap()).unwrap(), journal);
    }

    #[test]
    fn no_bytes_make_it_panic(at in 0_usize..1_000, with: u8) {
        let mut bytes = journal().to_bytes().unwrap();
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = Journal::from_bytes(&bytes);
    }
}
