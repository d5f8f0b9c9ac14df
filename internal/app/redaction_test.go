package app_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Whatever credential comes, wherever it comes, no line of the log has it, at the level that says most.
func TestNoCredentialReachesTheLog(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	if status, _ := g.operate("PUT", "/log-level", operatorToken, `{"level":"debug"}`); status != http.StatusNoContent {
		t.Fatalf("log level: %d", status)
	}
	token := g.token("acme")
	const secret = "credential-that-must-stay-secret-0123456789"
	for _, c := range []struct {
		path   string
		header []string
	}{
		{"/t/acme/?access_token=" + token, nil},
		{"/t/acme/?ACCESS_TOKEN=" + secret + "&access%5Ftoken=" + secret, nil},
		{"/t/acme/?access_token=" + token, []string{"Authorization", "Bearer " + token}},
		{"/t/acme/", []string{"Authorization", "Bearer " + token, "Cookie", "access_token=" + secret}},
		{"/t/acme/", []string{"Authorization", "Bearer " + token[:len(token)-8]}},
		{"/t/acme/", []string{"Authorization", "Basic " + secret}},
		{"/t/acme/", []string{"Authorization", secret}},
		{"/t/acme/", []string{"Proxy-Authorization", "Basic " + secret, "X-Api-Key", secret, "DPoP", secret}},
		{"/open/" + token, nil},
		{"/open/?access_token=" + token + "&code=" + secret, []string{"Authorization", "Bearer " + token}},
		{"/api/1/access_token/" + secret, nil},
		{"/api/1/access_token/" + secret + "/delete?accessTokenId=" + secret, nil},
		{"/api/1/access%5Ftoken/" + secret, nil},
		{"/nowhere/" + token + "?access_token=" + secret, nil},
	} {
		g.get(c.path, c.header...)
	}
	for path, body := range map[string]string{
		"/api/v1/tokens": `{"authorization_code":"` + secret + `"}`,
		"/oauth2/token": url.Values{
			"grant_type": {"client_credentials"}, "client_id": {"web"},
			"client_secret": {secret},
		}.Encode(),
		"/api/1/access_token/create?accessTokenId=" + secret: `{"application":"x"}`,
	} {
		media := "application/json"
		if strings.HasPrefix(path, "/oauth2") {
			media = "application/x-www-form-urlencoded"
		}
		answer, err := http.Post(g.url(path), media, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	g.raw("GET /last?access_token=" + secret + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + secret +
		"\r\nbroken line " + secret + "\r\n\r\n")
	g.get("/the-end")
	g.eventually(`"path":"/the-end"`)
	log := g.log.String()
	if n := strings.Count(log, `"log":"access"`); n < 18 {
		t.Errorf("%d access lines", n)
	}
	signature := token[strings.LastIndexByte(token, '.')+1:][:20]
	for _, part := range []string{token, signature, secret, operatorToken, "0123456789abcdefghijkl"} {
		for line := range strings.Lines(log) {
			if strings.Contains(line, part) {
				t.Errorf("%.12s… is in the log: %s", part, line)
			}
		}
	}
	if metrics := g.scrape(); strings.Contains(metrics, secret) || strings.Contains(metrics, signature) {
		t.Error("the metrics have a credential")
	}
}

// TestNoCredentialInTheTenantsPlace: a code that stands where a tenant should is in no log, no trace and no list.
func TestNoCredentialInTheTenantsPlace(t *testing.T) {
	t.Parallel()
	code := strings.Repeat("c0de-Of.128~", 10) + "characte"
	for name, pattern := range map[string]string{"usual": "", "wide": "tenant_pattern: \"[A-Za-z0-9._~-]{1,200}\"\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, "drain:", pattern+"drain:")
			status, header, body := g.get("/t/"+code+"/", "Authorization", "Bearer "+g.token("acme"))
			if status != 403 && status != 400 || header.Get("X-Request-Id") == "" {
				t.Fatalf("status %d", status)
			}
			g.eventually(`"path":"/t/[redacted]/"`)
			_, list := g.askAdmin("GET", "/refusals", adminToken)
			_, trace := g.operate("POST", "/explain", operatorToken, `{"request_id":"`+header.Get("X-Request-Id")+`"}`)
			if !strings.Contains(trace, `"tenant_from"`) || !strings.Contains(string(list), `"tenant_`) {
				t.Errorf("%s\n%s", trace, list)
			}
			for where, text := range map[string]string{
				"log": g.log.String(), "list": string(list), "trace": trace, "answer": body,
			} {
				if strings.Contains(text, code[:12]) {
					t.Errorf("%s: %s", where, text)
				}
			}
		})
	}
}
