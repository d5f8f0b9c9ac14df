package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A countingApp counts the connections that it accepted, and answers with the path.
type countingApp struct {
	*httptest.Server
	connections, requests atomic.Int64
	hold                  atomic.Pointer[sync.WaitGroup] // non-nil: who asks waits for as many others
}

func newCountingApp(t *testing.T) *countingApp {
	t.Helper()
	a := new(countingApp)
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.requests.Add(1)
		if hold := a.hold.Load(); hold != nil {
			hold.Done()
			hold.Wait()
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	a.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			a.connections.Add(1)
		}
	}
	a.Start()
	t.Cleanup(a.Close)
	return a
}

const reloadsConfig = `version: 1
listen: 127.0.0.1:0
admin: {listen: ADMIN, token: an-admin-token-of-the-test, pprof: true}
log: {access: false}
issuer:
  url: http://gate.test
  keys: [{file: keys/main.pem, create: true}]
  clients: [{id: web, delegate: [{tenant: "*", actions: ["*"]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes:
  - {path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: "APP"}
`

// What the file becomes, and whether that is a configuration. None is another to a request that is good.
var reloadVariants = []struct {
	edit []string
	good bool
}{
	{[]string{}, true},
	{[]string{"version: 1", "version: 7"}, false},
	{[]string{"routes:", "routes:\n  - {path: /more/, public: true, upstream: \"APP\"}"}, true},
	{[]string{"routes:", "rutes:"}, false},
	{[]string{"keys/main.pem, create: true", "keys/nobody.pem"}, false},
	{[]string{"reader:", "other: [{tenant: globex, actions: [WRITE]}], reader:"}, true},
	{[]string{"routes:", "tests: [{request: \"GET http://a/t/acme/\", expect: allow}]\nroutes:"}, false},
	{[]string{"{path:", "{path"}, false},
	{[]string{"log:", "limits: {body_bytes: 1MiB, issue_rate: 77}\nlog:"}, true},
}

// TestAThousandReloads, good and bad ones, by SIGHUP, through admin and by the watch, while requests run: none is lost,
// nothing grows, and what the reloads leave as it is stays warm: connections to the app, and verified tokens.
func TestAThousandReloads(t *testing.T) {
	reloads := 1000
	if raceDetected() {
		reloads = 150
	}
	app := newCountingApp(t)
	text := strings.NewReplacer("ADMIN", freeAddress(t), "APP", app.URL).Replace(reloadsConfig)
	g := openGate(t, text)
	o := &operated{gate: g, address: regexp.MustCompile(`admin: \{listen: ([0-9.:]+)`).FindStringSubmatch(text)[1]}
	base := "http://" + g.at(t, "main")
	var tokens []string
	for i := range 4 {
		tokens = append(tokens, g.token(t, "--ttl", strconv.Itoa(1800+i)+"s"))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: patience}
	defer client.CloseIdleConnections()
	get := func(i int) error {
		path := fmt.Sprintf("/t/acme/%d", i)
		r, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+tokens[i%len(tokens)])
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && (answer.StatusCode != 200 || string(body) != path) {
			err = fmt.Errorf("%d %q", answer.StatusCode, body)
		}
		return err
	}

	// More connections than the load ever needs at a time, and every token once.
	const most, workers = 16, 2
	together := new(sync.WaitGroup)
	together.Add(most)
	app.hold.Store(together)
	var warming sync.WaitGroup
	for i := range most {
		warming.Go(func() {
			if err := get(i); err != nil {
				t.Error(err)
			}
		})
	}
	warming.Wait()
	app.hold.Store(nil)

	var sent, lost atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for w := range workers {
		load.Go(func() {
			for i := w; ; i += workers {
				select {
				case <-stop:
					return
				default:
				}
				sent.Add(1)
				if err := get(i); err != nil {
					lost.Add(1)
					t.Errorf("request %d: %v", i, err)
					return
				}
				time.Sleep(time.Millisecond) // or the load takes the processor that the reloads need
			}
		})
	}

	connections := app.connections.Load()
	var before, after vitals
	done, watched, began := 0, 0, time.Now()
	for i := range reloads {
		v := reloadVariants[i%len(reloadVariants)]
		fresh := strings.NewReplacer(append(v.edit, "APP", app.URL)...).Replace(text)
		last := o.lastReload(t)
		g.putInPlace(t, strings.ReplaceAll(fresh, "APP", app.URL))
		switch {
		case i%100 == 99: // the watch, and no one else
			watched++
		case i%2 == 0:
			g.signal(t, syscall.SIGHUP)
		default:
			if status, body := o.ask(t, http.MethodPost, "/reload"); (status == 204) != v.good {
				t.Fatalf("reload %d (%v): %d %s", i, v.edit, status, body)
			}
		}
		o.await(t, last)
		done++
		if i == reloads/10 {
			before = o.vitals(t)
		}
	}
	took := time.Since(began)
	close(stop)
	load.Wait()
	after = o.vitals(t)
	t.Logf("%d reloads (%d by the watch alone) in %v under %d requests, %d lost; connections to the app %d, then %d; "+
		"tokens verified %.0f, then %.0f; goroutines %.0f, then %.0f; descriptors %.0f, then %.0f; heap %.1f MiB, then "+
		"%.1f; resident %.1f MiB, then %.1f",
		done, watched, took.Round(time.Millisecond), sent.Load(), lost.Load(), connections, app.connections.Load(),
		before.misses, after.misses,
		before.goroutines, after.goroutines, before.descriptors, after.descriptors, before.heap/(1<<20), after.heap/(1<<20),
		before.resident/(1<<20), after.resident/(1<<20))
	if lost.Load() > 0 || sent.Load() < int64(reloads)/10 {
		t.Errorf("of %d requests %d were lost", sent.Load(), lost.Load())
	}
	if got := app.requests.Load(); got != sent.Load()+most {
		t.Errorf("the app saw %d requests, want %d", got, sent.Load()+most)
	}
	if got := app.connections.Load(); got != connections {
		t.Errorf("%d connections to the app, then %d", connections, got)
	}
	if after.misses != float64(len(tokens)) {
		t.Errorf("%v tokens were verified, want %d", after.misses, len(tokens))
	}
	if after.goroutines > before.goroutines+16 || after.descriptors > before.descriptors+16 ||
		after.heap > before.heap+8<<20 {
		t.Errorf("something grows: %+v, then %+v", before, after)
	}
}

// putInPlace puts a file in the old one's place, as an editor does.
func (g *gate) putInPlace(t *testing.T, config string) {
	t.Helper()
	path := filepath.Join(g.folder, "config.yaml")
	writeFile(t, path+".new", []byte(config))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// An operated gate is asked on its admin listener.
type operated struct {
	*gate
	address string
	client  http.Client
}

func (o *operated) ask(t *testing.T, method, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+o.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer an-admin-token-of-the-test")
	answer, err := o.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

var sample = regexp.MustCompile(`(?m)^([a-z_]+)(\{[^}]*\})? ([0-9.e+]+)$`)

// metrics are summed up over their labels.
func (o *operated) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	status, body := o.ask(t, http.MethodGet, "/metrics")
	if status != 200 {
		t.Fatalf("metrics: %d", status)
	}
	all := map[string]float64{}
	for _, m := range sample.FindAllStringSubmatch(body, -1) {
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		all[m[1]] += value
	}
	return all
}

// lastReload is when there was the latest reload, and what came of it.
func (o *operated) lastReload(t *testing.T) string {
	t.Helper()
	status, body := o.ask(t, http.MethodGet, "/reload")
	if status != 200 {
		t.Fatalf("the latest reload: %d %s", status, body)
	}
	return body
}

// await waits for another reload than the last, whatever caused it.
func (o *operated) await(t *testing.T, last string) {
	t.Helper()
	for end := time.Now().Add(patience); o.lastReload(t) == last; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no reload")
		}
	}
}

// vitals are what must not grow.
type vitals struct{ goroutines, descriptors, heap, resident, misses float64 }

func (o *operated) vitals(t *testing.T) vitals {
	t.Helper()
	if status, _ := o.ask(t, http.MethodGet, "/debug/pprof/heap?gc=1"); status != 200 {
		t.Fatalf("no garbage was collected: %d", status)
	}
	m := o.metrics(t)
	return vitals{
		m["go_goroutines"], m["process_open_fds"], m["go_memstats_heap_alloc_bytes"], m["process_resident_memory_bytes"],
		m["jotgate_token_cache_misses_total"],
	}
}
