package proxy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAGoodTokenReachesTheUpstream(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.get("/t/acme/x", h.mint())
	if got.status != 200 || got.body != "ok" || got.reason != "" {
		t.Fatalf("got %+v", got)
	}
	want := &received{
		line: "GET /t/acme/x HTTP/1.1",
		fields: []string{
			"Forwarded: for=127.0.0.1;host=app.example;proto=http",
			"Host: app.example",
			"X-Forwarded-For: 127.0.0.1",
			"X-Forwarded-Host: app.example",
			"X-Forwarded-Proto: http",
			"X-Jotgate-Actions: READ,LIST",
			"X-Jotgate-Client: web",
			"X-Jotgate-Issuer: https://gate.example",
			"X-Jotgate-Subject: alice",
			"X-Jotgate-Tenant: acme",
			"X-Jotgate-Token-Id: id-1",
			"X-Request-Id: 0190-id",
		},
	}
	if d := cmp.Diff(want.line, h.app.seen()[0].line); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want.fields, h.app.seen()[0].fields); d != "" {
		t.Error(d)
	}
}
