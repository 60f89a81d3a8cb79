//! Policies as people write them: Cedar text, checked once before anybody endorses it.
//!
//! A text is refused if it is too big, does not parse, has templates, or does not fit the built-in schema: a misspelt
//! attribute would otherwise turn a forbid into nothing. Refused too is what fits but cannot mean what it says: a policy
//! that can never apply, and characters that make a text read differently from what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{Effect, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use keymesh_wire::limits;
use miette::Diagnostic;

use super::scan::scan;

/// The most policies one text may hold.
pub const POLICIES: usize = 256;

/// Stack for parsing and validating, in bytes: several times what the deepest text within these bounds needs without
/// optimisation. Guaranteed, because the validator gives up when its stack runs low, and whether a text is a policy may
/// not depend on the thread that asks.
const PARSER_STACK: usize = 8 << 20;

/// What policies may speak about. Only what somebody with authority signed: permits are held to this.
const ATTESTED_SCHEMA: &str = "
entity Instance;
entity Tenant;
entity Namespace in [Namespace, Tenant];
entity Keyring in [Namespace];
entity Key in [Keyring] { class: String };
type Facts = {
    account: String,
    image: String,
    instance: String,
    launched_by: String,
    pending: Long,
    provider: String,
    region: String,
    zone: String,
};
action release appliesTo { principal: Instance, resource: Key, context: Facts };
";

/// The line of [`ATTESTED_SCHEMA`] after which forbids may read more, and what more.
const CLAIMS: (&str, &str) =
    ("    account: String,\n", "    claimed: { key: String, keyring: String, namespace: String },\n");

/// Every attribute that some record or entity of the schema has.
const ATTRIBUTES: &[&str] = &[
    "account",
    "claimed",
    "class",
    "image",
    "instance",
    "key",
    "keyring",
    "launched_by",
    "namespace",
    "pending",
    "provider",
    "region",
    "zone",
];

struct Validators {
    attested: Validator,
    claimed: Validator,
}

static VALIDATORS: LazyLock<Validators> = LazyLock::new(|| {
    let validator = |text: &str| {
        let (schema, _) = Schema::from_cedarschema_str(text).expect("the built-in schema parses");
        Validator::new(schema)
    };
    let (line, more) = CLAIMS;
    Validators {
        attested: validator(ATTESTED_SCHEMA),
        claimed: validator(&ATTESTED_SCHEMA.replace(line, &format!("{line}{more}"))),
    }
});

/// The policies of one statement, parsed and checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Permits, and those forbids that read nothing claimed.
    pub(super) plain: PolicySet,
    /// The forbids that read something claimed, if any.
    pub(super) claim_readers: Option<PolicySet>,
    rules: BTreeMap<PolicyId, Rule>,
    unreadable: Option<PolicyError>,
}

/// How a rule is called in reasons, and where it stands in the text.
#[derive(Debug, Clone)]
struct Rule {
    position: usize,
    label: String,
}

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is too long.
    #[error("the policy has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The text holds too many policies.
    #[error("the text holds {count} policies, at most {limit} are allowed")]
    TooMany {
        /// How many it holds.
        count: usize,
        /// How many it may hold.
        limit: usize,
    },
    /// The text holds a control character or one that changes the direction of writing.
    #[error("line {line}, column {column}: the character U+{code:04X} is not allowed in a policy")]
    Character {
        /// Its line, from 1.
        line: usize,
        /// Its column, from 1.
        column: usize,
        /// The character.
        code: u32,
    },
    /// Something is nested too deeply or too long.
    #[error("line {line}, column {column}: {what}; use a set with `contains` or several policies")]
    TooDeep {
        /// Its line, from 1.
        line: usize,
        /// Its column, from 1.
        column: usize,
        /// What is too deep.
        what: &'static str,
    },
    /// The text is not Cedar.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Its line, from 1.
        line: usize,
        /// Its column, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// The text holds a template.
    #[error("line {line}: templates (`?principal`, `?resource`) are not allowed")]
    Template {
        /// Where it starts, from 1.
        line: usize,
    },
    /// A permit reads a fact that nobody with authority signed.
    #[error("line {line}, column {column}: a permit may not read `{what}`, only forbids may")]
    ClaimedInPermit {
        /// Its line, from 1.
        line: usize,
        /// Its column, from 1.
        column: usize,
        /// What it reads, as written.
        what: String,
    },
    /// A policy names an attribute, an entity type or an action that does not exist, or uses one wrongly.
    #[error("line {line}, column {column}: `{what}`: {message}")]
    Unfit {
        /// Its line, from 1.
        line: usize,
        /// Its column, from 1.
        column: usize,
        /// The part of the text that is wrong.
        what: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Policy {
    /// Parses and checks a text. Costs about 40 µs per policy, so it is done once per statement.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > limits::POLICY_BYTES {
            return Err(PolicyError::TooLong { bytes: text.len(), limit: limits::POLICY_BYTES });
        }
        scan(text)?;
        stacker::maybe_grow(PARSER_STACK, PARSER_STACK, || Self::parse_scanned(text))
    }

    fn parse_scanned(text: &str) -> Result<Self, PolicyError> {
        let set = PolicySet::from_str(text).map_err(|errors| syntax(text, &errors))?;
        if let Some(template) = set.templates().next() {
            let line = locate(text, text.find(&template.to_cedar()).unwrap_or_default()).0;
            return Err(PolicyError::Template { line });
        }
        let count = set.policies().count();
        if count > POLICIES {
            return Err(PolicyError::TooMany { count, limit: POLICIES });
        }
        Self::checked(text, &set)
    }

    /// Stands for a text that this software cannot read, because it comes from newer software: everything in its scope
    /// is denied until this node understands it.
    pub fn unreadable(error: PolicyError) -> Self {
        Self { plain: PolicySet::new(), claim_readers: None, rules: BTreeMap::new(), unreadable: Some(error) }
    }

    /// Why the text cannot be read, if so.
    pub fn unreadable_because(&self) -> Option<&PolicyError> {
        self.unreadable.as_ref()
    }

    /// A rule's place in the text and how reasons call it.
    pub(super) fn rule(&self, id: &PolicyId) -> Option<(usize, &str)> {
        self.rules.get(id).map(|rule| (rule.position, rule.label.as_str()))
    }

    fn policies(&self) -> impl Iterator<Item = &cedar_policy::Policy> {
        self.plain.policies().chain(self.claim_readers.iter().flat_map(PolicySet::policies))
    }

    fn checked(text: &str, set: &PolicySet) -> Result<Self, PolicyError> {
        let validators = &*VALIDATORS;
        let (mut permits, mut forbids) = (PolicySet::new(), PolicySet::new());
        for policy in set.policies() {
            let side = match policy.effect() {
                Effect::Permit => &mut permits,
                Effect::Forbid => &mut forbids,
            };
            side.add(policy.clone()).expect("ids are distinct in the set they come from");
        }
        if let Some(first) = set.policies().filter_map(|policy| unknown_presence_test(text, policy)).min() {
            return Err(first.into_error(text));
        }
        let mut complaints = complaints_of(&validators.claimed, &forbids);
        let about_permits = complaints_of(&validators.attested, &permits);
        if !about_permits.is_empty() {
            // What is right with claims and wrong without them reads a claim.
            let with_claims = complaints_of(&validators.claimed, &permits);
            let places: BTreeSet<usize> = with_claims.iter().map(|complaint| complaint.start).collect();
            complaints.extend(about_permits.into_iter().map(|complaint| {
                if places.contains(&complaint.start) { complaint } else { complaint.reads_claim(text) }
            }));
        }
        if let Some(first) = complaints.into_iter().next() {
            return Err(first.into_error(text));
        }
        Ok(Self::split(permits, &forbids))
    }

    /// Sets apart the forbids that need claims, so that the others share one evaluation with the permits.
    fn split(permits: PolicySet, forbids: &PolicySet) -> Self {
        let (mut plain, mut claim_readers) = (permits, PolicySet::new());
        for forbid in forbids.policies() {
            let alone = PolicySet::from_policies([forbid.clone()]).expect("one policy has one id");
            let reads_claims = !VALIDATORS.attested.validate(&alone, ValidationMode::Strict).validation_passed();
            let side = if reads_claims { &mut claim_readers } else { &mut plain };
            side.add(forbid.clone()).expect("ids are distinct in the set they come from");
        }
        let claim_readers = (!claim_readers.is_empty()).then_some(claim_readers);
        let mut policy = Self { plain, claim_readers, rules: BTreeMap::new(), unreadable: None };
        policy.rules = policy.policies().map(|rule| (rule.id().clone(), Rule::of(rule))).collect();
        policy
    }
}

impl Rule {
    fn of(policy: &cedar_policy::Policy) -> Self {
        let position = position(policy.id());
        let kind = match policy.effect() {
            Effect::Permit => "permit",
            Effect::Forbid => "forbid",
        };
        let label = match policy.annotation("id") {
            Some(name) if !name.is_empty() => format!("{kind} `{}`", excerpt(name)),
            _ => format!("{kind} {}", position + 1),
        };
        Self { position, label }
    }
}

/// Cedar numbers the policies of a text `policy0`, `policy1`, …
fn position(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.trim_start_matches("policy").parse().unwrap_or(usize::MAX)
}

/// The forbids of a policy, each in one canonical form that ignores layout, comments and annotations.
pub fn forbids(policy: &Policy) -> BTreeSet<String> {
    policy.policies().filter(|rule| rule.effect() == Effect::Forbid).map(canonical).collect()
}

/// The forbids of `old` that `new` lacks, in canonical form. Replacing `old` by `new` weakens exactly these; a forbid
/// that was reworded is among them even if the new wording forbids more, because only people can tell.
pub fn weakens(old: &Policy, new: &Policy) -> Vec<String> {
    forbids(old).difference(&forbids(new)).cloned().collect()
}

fn canonical(policy: &cedar_policy::Policy) -> String {
    let bare = policy.to_json().ok().and_then(|mut json| {
        json.as_object_mut()?.remove("annotations");
        cedar_policy::Policy::from_json(None, json).ok()
    });
    // A policy that does not survive the detour is compared as it was written, which only names more as weakened.
    bare.map_or_else(|| policy.to_string(), |bare| bare.to_string())
}

/// What is wrong with a part of the text, given in bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Complaint {
    start: usize,
    end: usize,
    message: String,
    claim: bool,
}

impl Complaint {
    fn of(policy: &PolicyId, diagnostic: &dyn Diagnostic) -> Self {
        let (start, end) = span(diagnostic).unwrap_or_default();
        let message = diagnostic.to_string();
        let id: &str = policy.as_ref();
        let message = message.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(&message).to_owned();
        let help = diagnostic.help().map(|help| format!(" ({help})")).unwrap_or_default();
        Self { start, end, message: message + &help, claim: false }
    }

    /// The same, said of a claim; of the claim itself where the complaint is about the whole policy around it.
    fn reads_claim(self, text: &str) -> Self {
        let part = text.get(self.start..self.end).unwrap_or_default();
        let (start, end) = match part.find("claimed").filter(|_| part.contains(';')) {
            Some(at) => (self.start + at, self.start + at + "claimed".len()),
            None => (self.start, self.end),
        };
        Self { start, end, claim: true, ..self }
    }

    fn into_error(self, text: &str) -> PolicyError {
        let (line, column) = locate(text, self.start);
        let what = excerpt(text.get(self.start..self.end).unwrap_or_default());
        if self.claim {
            PolicyError::ClaimedInPermit { line, column, what }
        } else {
            PolicyError::Unfit { line, column, what, message: self.message }
        }
    }
}

fn complaints_of(validator: &Validator, policies: &PolicySet) -> BTreeSet<Complaint> {
    let result = validator.validate(policies, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| Complaint::of(error.policy_id(), error));
    let errors: BTreeSet<_> = errors.collect();
    if !errors.is_empty() {
        // A warning, such as that a policy can never apply, would only be the consequence.
        return errors;
    }
    result.validation_warnings().map(|warning| Complaint::of(warning.policy_id(), warning)).collect()
}

/// `context has zonee` is well-typed Cedar and simply false, so the validator lets a misspelling pass.
fn unknown_presence_test(text: &str, policy: &cedar_policy::Policy) -> Option<Complaint> {
    let attribute = unknown_in(&policy.to_json().ok()?)?;
    let policy = policy.to_cedar().and_then(|policy| text.find(&policy)).unwrap_or_default();
    let start = policy + text[policy..].find(&attribute).unwrap_or_default();
    let end = start + attribute.len();
    Some(Complaint { start, end, message: "no such attribute".to_owned(), claim: false })
}

fn unknown_in(json: &serde_json::Value) -> Option<String> {
    match json {
        serde_json::Value::Array(items) => items.iter().find_map(unknown_in),
        serde_json::Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let tested = (name == "has").then(|| value.get("attr")?.as_str()).flatten();
            let unknown = tested.filter(|attribute| !ATTRIBUTES.contains(attribute));
            unknown.map(str::to_owned).or_else(|| unknown_in(value))
        }),
        _ => None,
    }
}

fn syntax(text: &str, errors: &cedar_policy::ParseErrors) -> PolicyError {
    let first = errors.iter().map(|error| (span(error).unwrap_or_default().0, error.to_string())).min();
    let (start, message) = first.unwrap_or_default();
    let (line, column) = locate(text, start);
    PolicyError::Syntax { line, column, message }
}

/// Where in the text a diagnostic points to, in bytes.
fn span(diagnostic: &dyn Diagnostic) -> Option<(usize, usize)> {
    let label = diagnostic.labels()?.min_by_key(miette::LabeledSpan::offset)?;
    Some((label.offset(), label.offset() + label.len()))
}

/// Line and column, both from 1, of the byte at `offset`.
pub(super) fn locate(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The beginning of a text, on one line, for a message.
fn excerpt(text: &str) -> String {
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = words.char_indices().nth(60) {
        words.truncate(cut);
        words.push('…');
    }
    words
}
