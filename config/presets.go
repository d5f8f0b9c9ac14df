package config

import (
	"slices"
	"strings"
	"time"
)

// A Preset is what is known of one vendor's tokens: defaults for an entry of trusted_issuers. docs/issuers.md shows the
// same table; a test holds the two together.
type Preset struct {
	Name           string
	TokenTypes     []string // none: a token without typ
	Kinds          []string
	AudienceClaims []string // default [aud]
	ClientClaim    string   // default client_id
	Tenants        string   // the default of tenants.from, for an entry that has tenants
	Roles          string   // the default of roles.from
	RolesPerTenant bool     // … which is an object of objects
	Actions        string   // the default of actions.from
	JWKSPath       string   // behind issuer, where there is no discovery
	MaxTokenTTL    time.Duration
	Odd            string // what is odd about it
	Source         string // where the vendor says what its tokens hold
}

var presets = []Preset{
	{
		Name: "keycloak", TokenTypes: []string{"JWT"}, Kinds: []string{"access"}, ClientClaim: "azp",
		Tenants: "organization", Roles: "realm_access.roles", Actions: "scope",
		Odd: "The claim typ tells access tokens (Bearer) from id_tokens (ID); before Keycloak 25 access tokens can have a " +
			"nonce. Tokens that are bound to a key say DPoP in its place. organization is a list, " +
			"or an object whose keys are the organizations.",
		Source: "https://github.com/keycloak/keycloak/blob/main/services/src/main/java/org/keycloak/protocol/oidc/" +
			"TokenManager.java",
	},
	{
		Name: "auth0", TokenTypes: []string{"JWT", "at+jwt"}, Kinds: []string{"access"}, ClientClaim: "azp",
		Tenants: "org_id", Roles: "permissions", Actions: "permissions",
		Odd: "iss ends with a slash. The RFC 9068 profile writes client_id in place of azp: set client_claim: " +
			"client_id for it. " +
			"permissions is there if the API has RBAC with permissions in the token; claims of your own have URLs as names.",
		Source: "https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles",
	},
	{
		Name: "okta", TokenTypes: []string{"none", "JWT"}, Kinds: []string{"access"}, ClientClaim: "cid",
		Roles: "groups", Actions: "scp",
		Odd: "Only tokens of custom authorization servers (…/oauth2/default) are for others to verify; those of the " +
			"organization's own server (typ application/okta-internal-at+jwt) are not. scp is a list. groups needs a claim " +
			"of that name in the server's settings.",
		Source: "https://developer.okta.com/docs/reference/api/oidc/",
	},
	{
		Name: "entra", TokenTypes: []string{"JWT"}, Kinds: []string{"access"}, ClientClaim: "azp",
		Tenants: "tid", Roles: "roles", Actions: "scp",
		Odd: "v2.0 tokens have iss https://login.microsoftonline.com/{tid}/v2.0; v1.0 tokens have iss " +
			"https://sts.windows.net/{tid}/ " +
			"and the client in appid, so write issuer_pattern, client_claim: appid and the key set " +
			"https://login.microsoftonline.com/common/discovery/keys for them. Keys of the common v2.0 key set " +
			"name the issuer that they are for, and count for its tokens alone. With issuer_pattern the tenant is " +
			"the issuer's own, so that tid may be missing; a user in too many groups has no groups claim.",
		Source: "https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference",
	},
	{
		Name: "cognito", TokenTypes: []string{"none", "JWT"}, Kinds: []string{"access"},
		AudienceClaims: []string{"aud", "client_id"},
		Roles:          "cognito:groups", Actions: "scope",
		Odd: "Access tokens have no aud: client_id stands in for it. token_use tells access tokens from id_tokens.",
		Source: "https://docs.aws.amazon.com/cognito/latest/developerguide/" +
			"amazon-cognito-user-pools-using-the-access-token.html",
	},
	{
		Name: "google", TokenTypes: []string{"JWT"}, Kinds: []string{"id", "access"}, ClientClaim: "azp", Tenants: "hd",
		Roles: "email",
		Odd: "iss is https://accounts.google.com, or accounts.google.com without a scheme from old clients, which takes an " +
			"entry of its own with jwks_url. Google's access tokens are opaque; these are its id_tokens. " +
			"Those of service accounts have azp and no " +
			"at_hash, so " +
			"they count as access tokens. hd is there for Workspace accounts alone.",
		Source: "https://developers.google.com/identity/openid-connect/reference",
	},
	{
		Name: "firebase", TokenTypes: []string{"JWT"}, Kinds: []string{"id"}, Tenants: "firebase.tenant", Roles: "role",
		Odd: "The issuer is https://securetoken.google.com/PROJECT and aud is PROJECT. Tokens are id_tokens " +
			"without a nonce. " +
			"firebase.tenant is there with Identity Platform's multi-tenancy alone. Session cookies are of another issuer, " +
			"https://session.firebase.google.com/PROJECT, and of other keys.",
		Source: "https://firebase.google.com/docs/auth/admin/verify-id-tokens",
	},
	{
		Name: "kubernetes", TokenTypes: []string{"none", "JWT"}, Kinds: []string{"workload"},
		Tenants: "kubernetes.io.namespace",
		Roles:   "sub", MaxTokenTTL: 8784 * time.Hour,
		Odd: "Tokens for the API server's own audience live up to a year; project tokens with an audience of " +
			"your own, which " +
			"live an hour, and lower max_token_ttl. The key set usually needs fetch.bearer and fetch.ca_file.",
		Source: "https://github.com/kubernetes/kubernetes/blob/master/pkg/serviceaccount/claims.go",
	},
	{
		Name: "github_actions", TokenTypes: []string{"JWT"}, Kinds: []string{"workload"}, Tenants: "repository_owner",
		Roles: "repository",
		Odd: "Anyone on GitHub gets tokens of this issuer, for any audience: name the repository, and ref or " +
			"environment, in require_claims. An enterprise can have an issuer of its own, with its name behind a slash; " +
			"that of an Enterprise Server is https://HOST/_services/token.",
		Source: "https://docs.github.com/actions/reference/security/oidc",
	},
	{
		Name: "gitlab", TokenTypes: []string{"JWT"}, Kinds: []string{"workload"}, Tenants: "namespace_path",
		Roles: "project_path",
		Odd: "Anyone on gitlab.com gets tokens of it: name project_path, and ref or environment, in require_claims. " +
			"ref_protected " +
			`is the text "true", not a boolean.`,
		Source: "https://docs.gitlab.com/ci/secrets/id_token_authentication/",
	},
	{
		Name: "spiffe", TokenTypes: []string{"JWT", "JOSE", "none"}, Kinds: []string{"workload"}, Roles: "sub",
		Odd: "A JWT-SVID need not have iss: it belongs to the entry whose trust_domain its sub has. " +
			"Keys have use: jwt-svid.",
		Source: "https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md",
	},
	{
		Name: "supabase", TokenTypes: []string{"JWT"}, Kinds: []string{"access", "workload"}, Roles: "role",
		Tenants: "app_metadata.tenant",
		Odd: "The issuer is https://PROJECT.supabase.co/auth/v1, the audience authenticated. User sessions say nothing " +
			"of what they " +
			"are. user_metadata can be changed by the user: never map it. Projects with the old shared secret (HS256) " +
			"publish no key.",
		Source: "https://supabase.com/docs/guides/auth/jwt-fields",
	},
	{
		Name: "clerk", TokenTypes: []string{"JWT", "at+jwt"}, Kinds: []string{"access"},
		AudienceClaims: []string{"aud", "azp"},
		Tenants:        "o.id", Roles: "o.rol",
		Odd: "Session tokens have no aud unless a template adds it: azp, the origin of the app, stands in for it. " +
			"Version 1 of the " +
			"claims has org_id and org_role in place of o. sts: pending marks a session with an open task: " +
			"require_claims: {sts: active} refuses it, where tokens have sts. azp is missing where the browser sent no " +
			"origin; such tokens are refused. o.per names permissions without their features, so map o.rol.",
		Source: "https://clerk.com/docs/guides/sessions/session-tokens",
	},
	{
		Name: "workos", TokenTypes: []string{"none", "JWT"}, Kinds: []string{"access", "workload"},
		AudienceClaims: []string{"aud", "client_id", "iss"}, Tenants: "org_id", Roles: "role", Actions: "permissions",
		Odd: "AuthKit's session tokens have no aud: list the issuer as the audience. iss is " +
			"https://api.workos.com/user_management/CLIENT_ID, or https://api.workos.com as the reference shows it: write " +
			"what your tokens have. Keys are published per client, at https://api.workos.com/sso/jwks/CLIENT_ID.",
		Source: "https://workos.com/docs/authkit/sessions",
	},
	{
		Name: "zitadel", TokenTypes: []string{"JWT", "at+jwt"}, Kinds: []string{"access"},
		Tenants: "urn:zitadel:iam:user:resourceowner:id", Roles: "urn:zitadel:iam:org:project:roles", RolesPerTenant: true,
		Odd: "Roles are an object of objects, or a list of such, each role with the organizations that granted it. " +
			"Access tokens are JWTs if the application says so; roles are in them if the project asserts them, those of " +
			"another project in urn:zitadel:iam:org:project:PROJECT_ID:roles.",
		Source: "https://zitadel.com/docs/apis/openidoauth/claims",
	},
	{
		Name: "cloudflare_access", TokenTypes: []string{"JWT", "none"}, Kinds: []string{"workload"},
		ClientClaim: "common_name",
		Roles:       "custom.groups", JWKSPath: "/cdn-cgi/access/certs",
		Odd: "The token comes in Cf-Access-Jwt-Assertion; aud is the application's AUD tag. Service tokens have an " +
			"empty sub, and " +
			"common_name.",
		Source: "https://developers.cloudflare.com/cloudflare-one/identity/authorization-cookie/application-token/",
	},
}

// Presets lists what is known of vendors' tokens. It must not be changed.
func Presets() []Preset { return presets }

// PresetNames lists the words that preset can have.
func PresetNames() []string {
	var names []string
	for _, p := range presets {
		names = append(names, p.Name)
	}
	return names
}

// presetOf returns a preset by its name; an empty one for "".
func presetOf(name string) Preset {
	if i := slices.IndexFunc(presets, func(p Preset) bool { return p.Name == name }); i >= 0 {
		return presets[i]
	}
	return Preset{}
}

// PresetFor guesses the preset by an issuer's URL; "" if nothing is known of it.
func PresetFor(issuer string) string {
	has := func(part string) bool { return strings.Contains(issuer, part) }
	switch {
	case has("/realms/"):
		return "keycloak"
	case has(".auth0.com"):
		return "auth0"
	case has(".okta.com"), has(".oktapreview.com"), has(".okta-emea.com"):
		return "okta"
	case has("login.microsoftonline.com"), has("sts.windows.net"), has(".ciamlogin.com"):
		return "entra"
	case has("cognito-idp."):
		return "cognito"
	case has("accounts.google.com"):
		return "google"
	case has("securetoken.google.com"):
		return "firebase"
	case has("kubernetes.default"), has("oidc.eks."), has("container.googleapis.com"), has(".oic.prod-aks.azure.com"):
		return "kubernetes"
	case has("token.actions.githubusercontent.com"), strings.HasSuffix(issuer, "/_services/token"):
		return "github_actions"
	case has("gitlab"):
		return "gitlab"
	case strings.HasPrefix(issuer, "spiffe://"):
		return "spiffe"
	case has(".supabase.co"):
		return "supabase"
	case has(".clerk.accounts.dev"), has("://clerk."):
		return "clerk"
	case has("api.workos.com"), has(".authkit.app"):
		return "workos"
	case has(".zitadel.cloud"):
		return "zitadel"
	case has(".cloudflareaccess.com"):
		return "cloudflare_access"
	}
	return ""
}
