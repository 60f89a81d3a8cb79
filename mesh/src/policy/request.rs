//! What is asked: a subject, an action and a target, in the form that Cedar evaluates.
//!
//! Entity ids and contexts are built once per agent ([`Subject`]) and once per key ([`Target`]), because building them
//! costs several times what evaluating a few policies does. They belong next to the enrolment and the key in a view.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};
use keymesh_wire::body::InstanceFacts;
use keymesh_wire::ids::{KeyId, KeyringId, NamespaceId, TenantId};

/// What a policy can allow. More will come with what asks for it; a policy that names another action is refused, so that
/// nobody relies on a forbid that nothing evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Handing a key to an instance.
    Release,
}

impl Action {
    /// Its id in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
        }
    }

    fn uid(self) -> EntityUid {
        match self {
            Self::Release => TYPES.release.clone(),
        }
    }
}

/// A request in words, for callers that judge it once.
#[derive(Debug, Clone, Copy)]
pub struct PolicyRequest<'a> {
    /// What is to be done.
    pub action: Action,
    /// The instance that asks, as custodians attested it.
    pub facts: &'a InstanceFacts,
    /// The key.
    pub key: KeyId,
    /// The key's name.
    pub key_name: &'a str,
    /// The key's keyring.
    pub keyring: KeyringId,
    /// The keyring's name.
    pub keyring_name: &'a str,
    /// The namespaces that enclose the keyring with their names, from the innermost out.
    pub namespaces: &'a [(NamespaceId, &'a str)],
    /// The tenant.
    pub tenant: TenantId,
    /// The keyring's custody class, `leased` or `quorum`.
    pub class: &'a str,
}

impl PolicyRequest<'_> {
    /// The instance, prepared.
    pub fn subject(&self) -> Subject {
        Subject::new(self.facts)
    }

    /// The key with all that encloses it, prepared.
    pub fn target(&self) -> Target {
        Target::new(self)
    }
}

/// An instance, prepared for evaluation. Depends on the attested facts alone.
#[derive(Debug, Clone)]
pub struct Subject {
    uid: EntityUid,
    context: Context,
}

impl Subject {
    /// Prepares an instance.
    pub fn new(facts: &InstanceFacts) -> Self {
        // Without exhaustive destructuring a new fact could be forgotten here.
        let InstanceFacts { instance, provider, account, region, zone, image, pending, launched_by } = facts;
        let texts = [
            ("account", account),
            ("image", image),
            ("instance", instance),
            ("launched_by", launched_by),
            ("provider", provider),
            ("region", region),
            ("zone", zone),
        ];
        let pending = i64::try_from(pending.0).unwrap_or(i64::MAX);
        let pairs = texts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value.clone())))
            .chain([("pending".to_owned(), RestrictedExpression::new_long(pending))]);
        let context = Context::from_pairs(pairs).expect("literals under distinct names make a context");
        Self { uid: uid(&TYPES.instance, instance.clone()), context }
    }
}

/// A key with everything that encloses it, prepared for evaluation. Changes when one of them is renamed.
#[derive(Debug, Clone)]
pub struct Target {
    uid: EntityUid,
    entities: Entities,
    claims: Context,
}

impl Target {
    /// Prepares the key of a request; the request's action and facts play no role.
    pub fn new(request: &PolicyRequest<'_>) -> Self {
        let tenant = uid(&TYPES.tenant, request.tenant.to_string());
        let mut entities = vec![Entity::new_no_attrs(tenant.clone(), HashSet::new())];
        let mut enclosing = tenant;
        for (namespace, _) in request.namespaces.iter().rev() {
            let namespace = uid(&TYPES.namespace, namespace.to_string());
            entities.push(Entity::new_no_attrs(namespace.clone(), HashSet::from([enclosing])));
            enclosing = namespace;
        }
        let keyring = uid(&TYPES.keyring, request.keyring.to_string());
        entities.push(Entity::new_no_attrs(keyring.clone(), HashSet::from([enclosing])));
        let key = uid(&TYPES.key, request.key.to_string());
        let class = RestrictedExpression::new_string(request.class.to_owned());
        let attributes = HashMap::from([("class".to_owned(), class)]);
        entities.push(
            Entity::new(key.clone(), attributes, HashSet::from([keyring])).expect("a literal makes an attribute"),
        );
        let entities = Entities::from_entities(entities, None).expect("ids of distinct kinds form a chain");

        let path = request.namespaces.iter().rev().map(|(_, name)| *name).collect::<Vec<_>>().join("/");
        let claims = [("key", request.key_name), ("keyring", request.keyring_name), ("namespace", path.as_str())]
            .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value.to_owned())));
        let claims = RestrictedExpression::new_record(claims).expect("names are distinct");
        let claims = Context::from_pairs([("claimed".to_owned(), claims)]).expect("literals make a context");
        Self { uid: key, entities, claims }
    }

    pub(super) fn entities(&self) -> &Entities {
        &self.entities
    }
}

/// The request as permits see it.
pub(super) fn attested(action: Action, subject: &Subject, target: &Target) -> Request {
    request(action, subject, target, subject.context.clone())
}

/// The request as forbids that read claims see it.
pub(super) fn with_claims(action: Action, subject: &Subject, target: &Target) -> Request {
    let context = subject.context.clone().merge(target.claims.clone()).expect("no attested fact is called `claimed`");
    request(action, subject, target, context)
}

fn request(action: Action, subject: &Subject, target: &Target, context: Context) -> Request {
    Request::new(subject.uid.clone(), action.uid(), target.uid.clone(), context, None)
        .expect("without a schema no request is refused")
}

struct Types {
    instance: EntityTypeName,
    tenant: EntityTypeName,
    namespace: EntityTypeName,
    keyring: EntityTypeName,
    key: EntityTypeName,
    release: EntityUid,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let parse = |name: &str| name.parse::<EntityTypeName>().expect("a built-in type name parses");
    Types {
        instance: parse("Instance"),
        tenant: parse("Tenant"),
        namespace: parse("Namespace"),
        keyring: parse("Keyring"),
        key: parse("Key"),
        release: uid(&parse("Action"), Action::Release.name().to_owned()),
    }
});

fn uid(kind: &EntityTypeName, id: String) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}
