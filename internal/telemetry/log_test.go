package telemetry

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

func TestAccessLineSaysWhatWasDecided(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := NewLog(&out, "error", true) // access lines are not subject to the level
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "http://app.example.com/t/acme/?access_token=secret", nil)
	r.Header.Set("Authorization", "Bearer secret")
	r.Header.Set("User-Agent", strings.Repeat("ü", 200))
	var x request.Exchange
	start := time.Unix(1, 0)
	x.Begin(httptest.NewRecorder(), start)
	x.ID, x.Host, x.LogPath = "id-1", "app.example.com", "/t/acme/"
	x.Peer = netip.MustParseAddr("192.0.2.1")
	x.Client = x.Peer
	x.Refuse(refusal.Because(refusal.ActionDenied, "entry 0 lacks READ"))
	log.Access(r, &x, start.Add(1500*time.Microsecond))
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	delete(got, "ts")
	want := map[string]any{
		"level": "info", "log": "access", "msg": "request", "request_id": "id-1", "method": "GET",
		"host": "app.example.com", "path": "/t/acme/", "proto": 1.0, "status": 403.0, "bytes": got["bytes"],
		"ms": 1.5, "peer": "192.0.2.1", "reason": "action_denied", "detail": "entry 0 lacks READ",
		"user_agent": strings.Repeat("ü", 128),
	}
	gotJSON, _ := json.Marshal(got)
	wantJSON, _ := json.Marshal(want)
	if !bytes.Equal(gotJSON, wantJSON) {
		t.Errorf("access line\n got %s\nwant %s", gotJSON, wantJSON)
	}
	if strings.Contains(out.String(), "secret") {
		t.Errorf("the line holds a credential: %s", out.String())
	}
}

// TestAccessLineAfterClose is that of a request that a second signal cut off.
func TestAccessLineAfterClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	var out bytes.Buffer
	log, err := NewLog(&out, "info", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	x := request.Exchange{ID: "late"}
	log.Access(httptest.NewRequest("GET", "/", nil), &x, time.Now())
	if !strings.Contains(out.String(), `"request_id":"late"`) {
		t.Errorf("log: %q", out.String())
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

func TestLogRefusesUnknownLevel(t *testing.T) {
	t.Parallel()
	if _, err := NewLog(&bytes.Buffer{}, "loud", false); err == nil {
		t.Error("level loud was taken")
	}
}
