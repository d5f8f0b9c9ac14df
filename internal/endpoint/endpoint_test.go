package endpoint

import (
	"slices"
	"strings"
	"testing"
)

func TestPathsAreTheEndpointsWithTheDialectsTreeOnce(t *testing.T) {
	t.Parallel()
	all := Served{
		Codes: true, UserTokens: true, AccessTokens: true, OAuth2: true, AccessTokenPrefix: "/p",
		Metadata:         []string{"/.well-known/oauth-authorization-server"},
		ResourceMetadata: []string{"/.well-known/oauth-protected-resource"},
	}
	paths := all.Paths()
	for _, e := range all.List() {
		covered := slices.ContainsFunc(paths, func(p string) bool {
			return p == e.Path || strings.HasSuffix(p, "/") && strings.HasPrefix(e.Path, p)
		})
		if !covered {
			t.Errorf("%s %s belongs to no path of ours", e.Name, e.Path)
		}
	}
	if n := len(paths); n != 11 || !slices.Contains(paths, "/p/api/1/access_token/") {
		t.Errorf("%d paths: %v", n, paths)
	}
	if got := (Served{}).Paths(); !slices.Equal(got, []string{"/.well-known/jwks.json", "/openapi.json"}) {
		t.Errorf("without a dialect: %v", got)
	}
}

const secret = "s3cr3t-of-a-client"

// Each spelling of a path in which a credential can stand, by a client that means the access-token dialect.
func TestRedactLeavesNoCredentialWhateverTheSpelling(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"access_token", "Access_Token", "ACCESS_TOKEN", "access%5Ftoken", "access%255ftoken", "%61ccess_token",
		"access-token",
		"accesstoken", "access.token", "access__token", "access_token;v=1", "access_token%3Bv", "%41ccess%2dToken",
		"access_tokens",
		"access%20token", "aaccess_token", "acc_access_token", "access_token%ZZ", "%ZZaccess_token",
	} {
		for _, border := range []string{
			"/", ";", "%2F", "%2f", "%252F", `\`, "%5C", "//", "/./", "/;/", "/%2e/", "%3B", "=",
			",", "/x/",
		} {
			path := "/api/1/" + name + border + secret
			for _, p := range []string{
				path, path + "/delete", path + "/delete.json", path + ";x", "/p" + path + "%00",
				path + "%",
			} {
				if got := Redact(p); strings.Contains(got, secret) || strings.Contains(unescape(got), secret) {
					t.Errorf("%s: %s", p, got)
				}
			}
		}
	}
	if got := Redact("/x/" + strings.Repeat("y", longestPlain+1) + "/z"); got != "/x/[redacted]/z" {
		t.Errorf("a segment as long as a token: %s", got)
	}
}

func TestRedactKeepsWhatHoldsNoCredential(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/":                                     "/",
		"/t/acme/tasks/7":                       "/t/acme/tasks/7",
		"/api/1/access_token/create":            "/api/1/access_token/create",
		"/api/1/access_token/create.json":       "/api/1/access_token/create.json",
		"/api/1/access_token/" + secret:         "/api/1/access_token/[redacted]",
		"/p/api/1/access_token/x/delete":        "/p/api/1/access_token/[redacted]/delete",
		"/oauth2/token":                         "/oauth2/token",
		"/users/personal_access_tokens":         "/users/personal_access_tokens",
		"/users/personal_access_tokens/7":       "/users/personal_access_tokens/[redacted]",
		"/access/token/7":                       "/access/token/7",
		"/100%":                                 "/100%",
		"/kiosk_9/" + strings.Repeat("k/", 49):  "/kiosk_9/" + strings.Repeat("k/", 49),
		"/" + strings.Repeat("0123456789/", 20): "/" + strings.Repeat("0123456789/", 20),
	} {
		if got := Redact(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestRedactAllocatesNothingForAnOrdinaryPath(t *testing.T) {
	for _, path := range []string{"/t/acme/tasks/7", "/t/acme/desk_7/tokens"} {
		if n := testing.AllocsPerRun(100, func() { Redact(path) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}
