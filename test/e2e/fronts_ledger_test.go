package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestNginxAsksAcrossReloads sends 20,000 requests through nginx while both it and the gate reload. The gate goes to
// and fro between two configs, under which the same requests are decided otherwise, and told to the app otherwise. Each
// answer must be one that one of the two gives, whole; what was refused is not at the app, and what was not is, once.
func TestNginxAsksAcrossReloads(t *testing.T) {
	t.Parallel()
	h := openFront(t, "nginx", "nginx", []string{"nginx.conf"}, "-p", ".", "-c", "nginx.conf", "-e", "stderr")
	file := filepath.Join(h.folder, "config.yaml")
	a := readFile(t, file)
	// In b reading asks for WRITE, which the token does not have, and assets for any token.
	b := strings.NewReplacer("methods: [GET, HEAD], require: {tenant_from: path.tenant, action: READ}",
		"methods: [GET, HEAD], require: {tenant_from: path.tenant, action: WRITE}",
		"{path: /assets/, public: true,", "{path: /assets/, require: authenticated,").Replace(a)

	const requests, clients = 20_000, 8
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: patience}
	var next, opened, closed atomic.Int64
	answers := make([]int, requests)
	faults := make(chan error, clients)
	ctx, stop := context.WithCancel(t.Context())
	var asking, reloading sync.WaitGroup
	for range clients {
		asking.Go(func() {
			for id := next.Add(1) - 1; id < requests; id = next.Add(1) - 1 {
				status, err := h.askFor(client, targetOf(id), id%4 != 3)
				if err != nil {
					faults <- fmt.Errorf("request %d: %w", id, err)
					return
				}
				if answers[id] = status; status == http.StatusOK {
					opened.Add(1)
				} else {
					closed.Add(1)
				}
			}
		})
	}
	reloads := 0
	reloading.Go(func() {
		for ctx.Err() == nil {
			writeFile(t, file+".new", []byte([]string{b, a}[reloads%2]))
			if err := os.Rename(file+".new", file); err != nil {
				t.Error(err)
			}
			h.gate.signal(t, syscall.SIGHUP)
			if reloads%3 == 0 {
				_ = h.proxy.Signal(syscall.SIGHUP)
			}
			reloads++
			select {
			case <-time.After(150 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	asking.Wait()
	stop()
	reloading.Wait()
	close(faults)
	for err := range faults {
		t.Error(err)
	}

	reached := make(map[string]int)
	for _, r := range h.app.take() {
		target := strings.TrimPrefix(r.line, "GET ")
		reached[target]++
		subject, tenant := r.fields.Get("X-Jotgate-Subject"), r.fields.Get("X-Jotgate-Tenant")
		actions := r.fields.Get("X-Jotgate-Actions")
		switch {
		case strings.HasPrefix(target, "/t/") && (subject != "alice" || tenant != "acme" || actions != "READ"),
			strings.HasPrefix(target, "/assets/") && (subject != "" && subject != "alice" || tenant != "" || actions != ""):
			t.Fatalf("%s: the app is told %q, %q, %q, which neither config says", target, subject, tenant, actions)
		}
	}
	for id, status := range answers {
		target := targetOf(int64(id))
		allowed := map[int]bool{200: true, 403: strings.HasPrefix(target, "/t/"), 401: id%4 == 3}
		want := 0
		if status == http.StatusOK {
			want = 1
		}
		if !allowed[status] || reached[target] != want {
			t.Fatalf("%s: %d, and %d times at the app", target, status, reached[target])
		}
	}
	t.Logf("%d opened, %d refused, %d reloads", opened.Load(), closed.Load(), reloads)
	if opened.Load() == 0 || closed.Load() == 0 || reloads < 4 {
		t.Error("the two configs did not take turns")
	}
}

// targetOf is of a tenant's page, or of an asset; those of every fourth request are asked for without a token.
func targetOf(id int64) string {
	if id%2 == 0 {
		return fmt.Sprintf("/t/acme/%d", id)
	}
	return fmt.Sprintf("/assets/%d", id)
}

func (h *frontHouse) askFor(client *http.Client, target string, token bool) (int, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+h.front+target, nil)
	if err != nil {
		return 0, err
	}
	r.Host = "app.test"
	if token {
		r.Header.Set("Authorization", "Bearer "+h.token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}
