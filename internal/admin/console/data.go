package console

import (
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// Overview is what a gate is at the moment.
type Overview struct {
	Version    string
	Started    time.Time
	Loaded     time.Time // when the configuration in force was loaded
	Generation int
	NotReady   string   // why it does not want requests; "": it does
	Warnings   []string // one line each
	Keeps      int      // refusals that are kept at most; 0: none are
}

// Load is what is being served.
type Load struct{ InFlight, Streams, Connections int }

// A Recent is a refusal's moment and reason.
type Recent struct {
	At     time.Time
	Reason refusal.Reason
}

// A Route is what the configuration says of one.
type Route struct {
	Name, Host, Path string
	Methods          []string // none: any
	Opens            string   // what opens it, in words
	Upstream         string   // "": none, for questions of other proxies alone
	Public, Shadow   bool
	Conditions       []string // further ones, in words
}

// A Matrix says what holders open.
type Matrix struct {
	Holders []string
	Rows    []MatrixRow
	Cut     bool // there are more routes, methods or tenants than were tried
}

// A MatrixRow is a route with an action.
type MatrixRow struct {
	Route, Needs string
	Cells        []Cell // by holder
}

// A Cell is what one holder opens of a route.
type Cell struct {
	Tried, Open      int      // requests
	Methods, Tenants []string // that are open, where not all are
}

// Issuers are ours and those that are trusted.
type Issuers struct {
	URL          string // ours; "": nothing is issued here
	Keys         []SigningKey
	Trusted      []TrustedIssuer
	Certificates []Certificate
	Exchanges    []Exchange
	Workloads    []Workload
	Logouts      []TrustedIssuer // that tell of logouts, by Audiences
}

// An Exchange is which tokens a client may exchange, and for what.
type Exchange struct {
	Client, Issuer           string
	Audiences, Named, Claims []string
	Most                     token.Permissions
}

// A Workload is which tokens of a trusted issuer authenticate a client.
type Workload struct {
	Client, Issuer, Is string
	Audiences          []string
	MaxLifetime        time.Duration
	Once               bool
}

// A SigningKey is one of ours.
type SigningKey struct {
	ID, Algorithm, State, File string
	Made                       time.Time // when its file was written; zero: not known
	Published                  time.Time // zero: since the process began, or longer
	Signs                      time.Time // when it begins to sign; zero: it does, or it is not to
}

// A TrustedIssuer is one whose tokens are taken.
type TrustedIssuer struct {
	Issuer, From       string
	Keys               int
	State, Problem     string // ok, stale, missing
	Age, MaxAge        time.Duration
	Refresh            time.Duration // the next fetch is due so long after the last
	Fetched, Attempted time.Time
	Fetches, Failures  uint64
	Audiences, Opens   []string
}

// left is how long the keys count without another look.
func (t TrustedIssuer) left() time.Duration { return t.MaxAge - t.Age }

// A Certificate is a listener's.
type Certificate struct {
	Listener, File string
	NotAfter       time.Time
}

// A Server is one of an upstream's.
type Server struct {
	Upstream, Address  string
	Up                 bool
	InUse, Places      int
	Ejections, Unasked uint64
}

// Memories are what the process remembers so that it works once, and how full they are.
type Memories struct {
	Guards []Guard
	Others []Fill
	Store  *Store // nil: nothing is shared
}

// A Guard remembers the used codes of one client.
type Guard struct {
	Client         string
	Fill, Capacity int
	Floor          time.Time // zero: none
}

// A Fill is how full a memory is.
type Fill struct {
	Name, Note     string
	Fill, Capacity int // 0: not counted in entries
}

// A Store is what replicas share.
type Store struct {
	Problem                      string // "": it can be used
	Epoch                        string
	Answered                     time.Time
	Operations, Failures, Epochs int64
}

// RevocationStatus is how the list of revocations is kept.
type RevocationStatus struct {
	Kept                    string // where
	Tokens, Marks, Capacity int
	Stale                   bool
	Issuers                 []string // that have tokens here
}

// Config is what is in force, and what became of the file since.
type Config struct {
	File, Digest string
	Text         string // YAML, without secrets and comments; "": not known
	Warnings     []string
	Reloads      []Reload // the latest first
	Changes      []Change // between the configuration before and the one in force
	Compared     bool     // there was one before
	Problem      string   // why they cannot be compared
	Lines        []Line   // the difference of the two texts
}

// A Reload is what came of one.
type Reload struct {
	At     time.Time
	By     string
	Digest string
	Faults []string // none: it is in force, or was
}

// A Change is something that is decided otherwise.
type Change struct {
	Opens bool
	Text  string
}

// A Line is one of a difference: Sign is "+", "-", " ", or "…" where lines are left out.
type Line struct{ Sign, Text string }

// A trace is how a request was judged, as explain tells it in JSON.
type trace struct {
	RequestID string    `json:"request_id"`
	At        time.Time `json:"at"`
	Client    string    `json:"client"`
	Route     string    `json:"route"`
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	ClientID  string    `json:"client_id"`
	TokenID   string    `json:"jti"`

	Allowed    bool   `json:"allowed"`
	Reason     string `json:"reason"`
	Status     int    `json:"status"`
	Detail     string `json:"detail"`
	Needed     string `json:"needed"`
	Unverified bool   `json:"unverified"`
	Shadow     bool   `json:"shadow"`
	Own        bool   `json:"own_endpoint"`
	Request    *struct {
		Method   string `json:"method"`
		Host     string `json:"host"`
		Path     string `json:"path"`
		SentPath string `json:"sent_path"`
	} `json:"request"`
	Routes []struct {
		Route   string   `json:"route"`
		Host    string   `json:"host"`
		Path    string   `json:"path"`
		Methods []string `json:"methods"`
		Verdict string   `json:"verdict"`
		Matches bool     `json:"matches"`
	} `json:"routes"`
	Steps []struct {
		Check   string `json:"check"`
		Outcome string `json:"outcome"`
		Detail  string `json:"detail"`
	} `json:"steps"`
	Token *struct {
		Issuer    string   `json:"iss"`
		Subject   string   `json:"sub"`
		Client    string   `json:"client_id"`
		Grantor   string   `json:"grantor"`
		ID        string   `json:"jti"`
		Key       string   `json:"kid"`
		Audience  []string `json:"aud"`
		Scope     string   `json:"scope"`
		Roles     []string `json:"roles"`
		Mapped    []string `json:"mapped"`
		IssuedAt  string   `json:"iat"`
		NotBefore string   `json:"nbf"`
		Expiry    string   `json:"exp"`
	} `json:"token"`
	Permissions token.Permissions `json:"permissions"`
	Tenant      string            `json:"tenant"`
	TenantFrom  string            `json:"tenant_from"`
	Deciding    *int              `json:"deciding_entry"`
	Opens       []struct {
		Route   string   `json:"route"`
		Path    string   `json:"path"`
		Methods []string `json:"methods"`
		Public  bool     `json:"public"`
		Tenants []string `json:"tenants"`
		Any     bool     `json:"any_tenant"`
	} `json:"opens"`
}
