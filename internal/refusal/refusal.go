// Package refusal is the one list of reasons for which Jotgate says no.
//
// A reason is a word that never changes its meaning. The access log, the metrics, `jotgate explain` and the
// troubleshooting page all use it; the client's answer does not: a client learns the HTTP status and the fixed text
// of its class (RFC 9457), while the operator's log has the reason and the cause.
package refusal

import (
	"errors"
	"fmt"
	"net/http"
)

// A Reason names why a request was refused. The empty Reason means that it was not.
type Reason string

// Requests that are refused before any route is chosen.
const (
	RequestMalformed   Reason = "request_malformed"   // the head or its framing is not RFC 9112
	PathAmbiguous      Reason = "path_ambiguous"      // two readers could take the path for two different ones
	HostMalformed      Reason = "host_malformed"      // no host, or one that is not a host name
	HeaderTooLarge     Reason = "header_too_large"    // limits.header_bytes
	URITooLong         Reason = "uri_too_long"        // limits.uri_bytes
	HeaderTimeout      Reason = "header_timeout"      // the head did not arrive in time
	BodyTooLarge       Reason = "body_too_large"      // limits.body_bytes or limits.token_body_bytes
	BodyMalformed      Reason = "body_malformed"      // the body's framing broke off or was not RFC 9112
	BodyTimeout        Reason = "body_timeout"        // the body did not arrive in time
	VersionUnsupported Reason = "version_unsupported" // neither HTTP/1.0 nor HTTP/1.1
	ExpectationUnknown Reason = "expectation_unknown" // Expect is something else than 100-continue
	MethodUnsupported  Reason = "method_unsupported"  // CONNECT, TRACE or an unregistered method
	UpgradeNotAllowed  Reason = "upgrade_not_allowed" // the route does not say `upgrade: true`
	RouteNotFound      Reason = "route_not_found"     // no route covers host and path
	FrontForbidden     Reason = "front_forbidden"     // a peer outside decision.from asked for a decision
	QuestionMalformed  Reason = "question_malformed"  // a question does not say once which request it is about
	MethodNotAllowed   Reason = "method_not_allowed"  // the chosen path lacks the method
	MediaUnsupported   Reason = "media_unsupported"   // a token endpoint was sent another Content-Type
	BodyInvalid        Reason = "body_invalid"        // a token endpoint's body does not say what it must
	RateLimited        Reason = "rate_limited"        // more calls than the client may make
	ClientCertRefused  Reason = "client_cert_refused" // the connection's certificate is not good any more, after a reload
	InFlightFull       Reason = "in_flight_full"      // limits.in_flight
	StreamsFull        Reason = "streams_full"        // limits.streams
	Draining           Reason = "draining"            // the process is on its way out
	InternalError      Reason = "internal_error"      // a fault of ours; the log has the cause
	ClientClosed       Reason = "client_closed"       // the client went away before it was answered
)

// Bearers that are refused.
const (
	CredentialsMultiple    Reason = "credentials_multiple"     // two bearers, or a bearer beside access_token
	TokenMissing           Reason = "token_missing"            // no Authorization header
	CrossSite              Reason = "cross_site"               // a cookie that another site may have sent
	TokenInQuery           Reason = "token_in_query"           // access_token as a query member alone
	TokenSchemeUnsupported Reason = "token_scheme_unsupported" // Authorization is not Bearer
	TokenTooLarge          Reason = "token_too_large"          // limits.token_bytes
	TokenMalformed         Reason = "token_malformed"          // not three strict base64url segments of strict JSON
	TokenTypeRefused       Reason = "token_type_refused"       // typ is not one that the issuer's tokens have here
	TokenHeaderRefused     Reason = "token_header_refused"     // crit, b64, zip, jwk, jku, x5u, x5c …
	TokenAlgorithmRefused  Reason = "token_algorithm_refused"  // alg is not the key's own
	TokenKeyUnknown        Reason = "token_key_unknown"        // the issuer has no key of this kid
	TokenSignatureInvalid  Reason = "token_signature_invalid"  // the key did not sign these bytes
	TokenClaimsMalformed   Reason = "token_claims_malformed"   // a claim is missing or of another type
	TokenExpired           Reason = "token_expired"            // exp has come
	TokenNotYetValid       Reason = "token_not_yet_valid"      // nbf or iat lies ahead
	TokenLifetimeTooLong   Reason = "token_lifetime_too_long"  // exp - iat is over the issuer's limit
	TokenIssuerUnknown     Reason = "token_issuer_unknown"     // no trusted issuer has this iss
	TokenAudienceMismatch  Reason = "token_audience_mismatch"  // aud names none of the route's audiences
	TokenManagement        Reason = "token_management"         // a management token where an access token is asked for
	TokenNotManagement     Reason = "token_not_management"     // the reverse
	TokenIdentityRefused   Reason = "token_identity_refused"   // a claim that becomes a header cannot be one
	TokenSubjectReserved   Reason = "token_subject_reserved"   // the subject is named like a client
	TokenClaimRequired     Reason = "token_claim_required"     // require_claims is not met
	TokenRevoked           Reason = "token_revoked"            // revoked, or before a not-before mark
	GrantorUnknown         Reason = "grantor_unknown"          // the client that granted it is gone
	GrantorNotCovering     Reason = "grantor_not_covering"     // the client's delegate no longer covers it
	OriginalNotCovered     Reason = "original_not_covered"     // nor the issuer of what it was exchanged from
	IssuerUnavailable      Reason = "issuer_unavailable"       // no key set of the issuer is at hand
	TicketUsed             Reason = "ticket_used"              // a one-time ticket that came before, or may have
	TicketMismatch         Reason = "ticket_mismatch"          // a ticket for another request
	SignaturesBusy         Reason = "signatures_busy"          // too many dear signature checks are waiting
)

// Tokens that are bound to a key, and the proofs that come with them (RFC 9449).
const (
	TokenBound              Reason = "token_bound"               // bound to a key, and sent as a plain bearer
	TokenUnbound            Reason = "token_unbound"             // bound to no key where one must be
	TokenBindingUnsupported Reason = "token_binding_unsupported" // bound to what nothing here can check
	TokenCertMismatch       Reason = "token_cert_mismatch"       // bound to another certificate than the connection's
	ProofMissing            Reason = "proof_missing"             // no DPoP header
	ProofMalformed          Reason = "proof_malformed"           // two of them, or not a strict proof with a public key
	ProofMismatch           Reason = "proof_mismatch"            // for another method, URL or token
	ProofKeyMismatch        Reason = "proof_key_mismatch"        // by another key than the token's
	ProofStale              Reason = "proof_stale"               // iat is not now
	ProofNonce              Reason = "proof_nonce"               // without a nonce of ours that is fresh
	ProofSignatureInvalid   Reason = "proof_signature_invalid"   // the proof's key did not sign it
	ProofUsed               Reason = "proof_used"                // it came before, or may have
)

// Authentic bearers that may not do this.
const (
	TenantMissing   Reason = "tenant_missing"   // the route's tenant is not in the request
	TenantAmbiguous Reason = "tenant_ambiguous" // … is there more than once
	TenantMalformed Reason = "tenant_malformed" // … is not a tenant's name
	TenantDenied    Reason = "tenant_denied"    // no entry of the token names this tenant
	AddressDenied   Reason = "address_denied"   // the client's address is not one of the route's

	ClientCertDenied Reason = "client_cert_denied" // the connection has no certificate with a name that the route asks for

	ClaimDenied  Reason = "claim_denied"  // a claim does not hold what the route asks for
	IssuerDenied Reason = "issuer_denied" // a token of another issuer than the route takes
	ActionDenied Reason = "action_denied" // the entry that decides lacks the action
)

// What the token side refuses.
const (
	ScopeMissing     Reason = "scope_missing"     // the token lacks a word of the scope, or its client the `may` word
	DelegateExceeded Reason = "delegate_exceeded" // more than the client may hand on
	SubjectReserved  Reason = "subject_reserved"  // a subject or application named like a client
	CodeTooLong      Reason = "code_too_long"     // tenant and subject do not fit into a code
	CodeMalformed    Reason = "code_malformed"    // not the shape of a code
	CodeUnknown      Reason = "code_unknown"      // not sealed by us for this use
	// sealed by another process, or before the shared store may have forgotten
	CodeOtherEpoch    Reason = "code_other_epoch"
	CodeExpired       Reason = "code_expired"       // its life is over
	CodeNotYetValid   Reason = "code_not_yet_valid" // issued in the future
	CodeUsed          Reason = "code_used"          // redeemed before
	CodeRevoked       Reason = "code_revoked"       // issued before a not-before mark
	CodeBelowFloor    Reason = "code_below_floor"   // at or below the replay guard's floor
	CodeClientGone    Reason = "code_client_gone"   // the issuing client is gone or may no longer issue
	CodeRoleGone      Reason = "code_role_gone"     // the role is gone
	CodeNotCovered    Reason = "code_not_covered"   // the client's delegate no longer covers the role
	StoreUnavailable  Reason = "store_unavailable"  // the replay store did not answer; the code may be spent
	CredentialUnknown Reason = "credential_unknown" // an accessTokenId of no client
	MasterRequired    Reason = "master_required"    // the caller is not a master
	UserUnknown       Reason = "user_unknown"       // the directory does not know the user
	UserTypeRefused   Reason = "user_type_refused"  // the user is no end user
	UserLookupFailed  Reason = "user_lookup_failed" // the directory did not answer in time
	RevocationOff     Reason = "revocation_off"     // neither a file nor a shared store
	RevocationsStale  Reason = "revocations_stale"  // what was revoked is not known, and revocations.on_stale refuses
	RevocationFull    Reason = "revocation_full"    // the list or the client's share of it is full
	RevocationUnknown Reason = "revocation_unknown" // no entry has the id
	RevocationKept    Reason = "revocation_kept"    // the entry cannot be undone
	LogoutRefused     Reason = "logout_refused"     // a logout token that does not say what it must, or not to us
	LogoutUsed        Reason = "logout_used"        // a logout token that came before, or may have
)

// What the OAuth endpoints refuse beside that (RFC 6749 §5.2).
const (
	ClientUnauthenticated Reason = "client_unauthenticated" // no client, an unknown one, or not its secret or key
	AssertionUsed         Reason = "assertion_used"         // a client assertion that came before, or may have
	GrantUnsupported      Reason = "grant_unsupported"      // a grant_type that is not served
	// the client may not use this grant, or has nothing to get by it
	GrantNotAllowed     Reason = "grant_not_allowed"
	ScopeUnknown        Reason = "scope_unknown"         // a scope that the client's `may` does not have
	ResourceUnknown     Reason = "resource_unknown"      // a resource or audience that no token is issued for
	PKCEFailed          Reason = "pkce_failed"           // the code_verifier is missing, wrong, or too much
	SubjectTokenRefused Reason = "subject_token_refused" // a token that cannot be exchanged
	ActorRefused        Reason = "actor_refused"         // an actor_token that may not act for the subject_token
)

// Upstreams that failed.
const (
	UpstreamUnreachable Reason = "upstream_unreachable" // no connection
	UpstreamBroken      Reason = "upstream_broken"      // it broke off or did not speak HTTP
	UpstreamTimeout     Reason = "upstream_timeout"     // it did not answer in time
	UpstreamBusy        Reason = "upstream_busy"        // every connection is taken and the queue is full
	GRPCDeadline        Reason = "grpc_deadline"        // the call's own deadline (grpc-timeout) came first
)

var statuses = map[Reason]int{
	RequestMalformed: 400, PathAmbiguous: 400, HostMalformed: 400, HeaderTooLarge: 431, URITooLong: 414,
	HeaderTimeout: 408, VersionUnsupported: 505, ExpectationUnknown: 417,
	BodyTooLarge: 413, BodyMalformed: 400, BodyTimeout: 408, MethodUnsupported: 405, UpgradeNotAllowed: 400,
	RouteNotFound: 404, FrontForbidden: 403, QuestionMalformed: 400, MethodNotAllowed: 405, MediaUnsupported: 415,
	BodyInvalid: 400, RateLimited: 429,
	ClientCertRefused: 403, InFlightFull: 503, StreamsFull: 503, Draining: 503, InternalError: 500, ClientClosed: 499,

	CredentialsMultiple: 400, TokenMissing: 401, TokenInQuery: 401, CrossSite: 403, TokenSchemeUnsupported: 401,
	TokenTooLarge:  401,
	TokenMalformed: 401, TokenTypeRefused: 401, TokenHeaderRefused: 401, TokenAlgorithmRefused: 401,
	TokenKeyUnknown: 401, TokenSignatureInvalid: 401, TokenClaimsMalformed: 401, TokenExpired: 401,
	TokenNotYetValid: 401, TokenLifetimeTooLong: 401, TokenIssuerUnknown: 401, TokenAudienceMismatch: 401,
	TokenManagement: 401, TokenNotManagement: 403, TokenIdentityRefused: 401, TokenSubjectReserved: 401,
	TokenClaimRequired: 401, TokenRevoked: 401, GrantorUnknown: 401, GrantorNotCovering: 401, OriginalNotCovered: 401,
	IssuerUnavailable: 503,
	SignaturesBusy:    503, TicketUsed: 401, TicketMismatch: 401,

	TokenCertMismatch: 401,
	TokenBound:        401, TokenUnbound: 401, TokenBindingUnsupported: 401, ProofMissing: 401, ProofMalformed: 401,
	ProofMismatch: 401, ProofKeyMismatch: 401, ProofStale: 401, ProofNonce: 401, ProofSignatureInvalid: 401,
	ProofUsed: 401,

	TenantMissing: 400, TenantAmbiguous: 400, TenantMalformed: 400, TenantDenied: 403, ActionDenied: 403,
	AddressDenied: 403, ClientCertDenied: 403,
	IssuerDenied: 403, ClaimDenied: 403,

	ScopeMissing: 403, DelegateExceeded: 403, SubjectReserved: 400, CodeTooLong: 400, CodeMalformed: 400,
	CodeUnknown: 404, CodeOtherEpoch: 404, CodeExpired: 400, CodeNotYetValid: 400, CodeUsed: 400, CodeRevoked: 400,
	CodeBelowFloor: 400,
	CodeClientGone: 400, CodeRoleGone: 400, CodeNotCovered: 400, StoreUnavailable: 503, CredentialUnknown: 403,
	MasterRequired: 403, UserUnknown: 404, UserTypeRefused: 400, UserLookupFailed: 408, RevocationOff: 501,
	RevocationFull: 503, RevocationsStale: 503, RevocationUnknown: 404, RevocationKept: 409,
	LogoutRefused: 400, LogoutUsed: 400,

	ClientUnauthenticated: 401, AssertionUsed: 401, GrantUnsupported: 400, GrantNotAllowed: 400, ScopeUnknown: 400,
	ResourceUnknown: 400, PKCEFailed: 400, SubjectTokenRefused: 400, ActorRefused: 400,

	UpstreamUnreachable: 502, UpstreamBroken: 502, UpstreamTimeout: 504, UpstreamBusy: 503,
	GRPCDeadline: 408,
}

// All lists every reason, in no order.
func All() []Reason {
	all := make([]Reason, 0, len(statuses))
	for r := range statuses {
		all = append(all, r)
	}
	return all
}

// Status is the HTTP status that the gate answers for r; 500 for a reason that is not on the list.
// A dialect or an OAuth endpoint may answer with another, as api.md and RFC 6749 say.
func (r Reason) Status() int {
	if s, ok := statuses[r]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// An Error is a refusal with its cause. Detail is for the log; it never holds a credential and never reaches a client.
type Error struct {
	Reason Reason
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return string(e.Reason)
	}
	return string(e.Reason) + ": " + e.Detail
}

// Because makes a refusal with a formatted detail.
func Because(r Reason, format string, args ...any) error {
	return &Error{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

// Of tells the reason that err carries; InternalError for an error without one, "" for nil.
func Of(err error) Reason {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return InternalError
}
