package listen_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/listen"
)

// Over HTTP/2, too, an early answer reaches clients that go on sending, and their connections are kept.
func TestEarlyAnswersReachEveryHTTP2Client(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "body")
	if err := os.WriteFile(file, make([]byte, earlySize), 0o600); err != nil {
		t.Fatal(err)
	}
	o, _ := secure(t, listen.Limits{})
	o.Listeners = append(o.Listeners, listen.Listener{Name: "plain", H2C: true})
	ls := start(t, o, http.HandlerFunc(unread))
	for _, scheme := range []string{"http", "https"} {
		url := scheme + "://" + ls.Addr(map[string]string{"http": "plain", "https": "main"}[scheme]).String() + "/upload"
		for client, statuses := range map[string]func(*testing.T, string, string) []string{
			"go":                           goPostsHTTP2(false),
			"go, without a length":         goPostsHTTP2(true),
			"node, one buffer":             nodePostsHTTP2("buffer"),
			"node, a stream":               nodePostsHTTP2("stream"),
			"node, slowly":                 nodePostsHTTP2("slow"),
			"curl":                         curlPostsHTTP2("Expect:"),
			"curl, that waits to be asked": curlPostsHTTP2("Expect: 100-continue"),
		} {
			t.Run(scheme+"/"+client, func(t *testing.T) {
				got := statuses(t, url, file)
				for _, status := range got {
					if status != "401" {
						t.Errorf("got %q", status)
					}
				}
				if len(got) != earlyTimes {
					t.Errorf("%d answers of %d", len(got), earlyTimes)
				}
			})
		}
	}
}

// goPostsHTTP2 posts with Go's client.
func goPostsHTTP2(streamed bool) func(*testing.T, string, string) []string {
	return func(t *testing.T, url, _ string) (statuses []string) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP2(true)
		transport.Protocols.SetUnencryptedHTTP2(true)
		defer transport.CloseIdleConnections()
		body := make([]byte, earlySize)
		for range earlyTimes {
			var from io.Reader = bytes.NewReader(body)
			if streamed {
				from = io.MultiReader(from)
			}
			answer, err := (&http.Client{Transport: transport}).Post(url, "application/octet-stream", from)
			if err != nil {
				statuses = append(statuses, err.Error())
				continue
			}
			if text, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(text), `"status":401`) {
				t.Errorf("body %q, %v", text, err)
			}
			_ = answer.Body.Close()
			if answer.ProtoMajor != 2 {
				t.Error(answer.Proto)
			}
			statuses = append(statuses, fmt.Sprint(answer.StatusCode))
		}
		return statuses
	}
}

// nodePostsHTTP2 posts with Node's client, all on one session. A stream has to be sent whole (Node itself stops with a
// buffer that it has ended); an error after the answer counts as one, too.
func nodePostsHTTP2(how string) func(*testing.T, string, string) []string {
	const script = `
const [url, file, how] = process.argv.slice(2)
const { createReadStream, readFileSync } = require('node:fs')
const { Readable } = require('node:stream')
const { setTimeout: sleep } = require('node:timers/promises')
const body = readFileSync(file)
const session = require('node:http2').connect(new URL(url).origin, { rejectUnauthorized: false, maxSessionMemory: 100 })
session.on('error', e => { console.log('session: ' + e); process.exit(0) })
session.on('goaway', code => console.log('goaway ' + code))
async function * slowly () { for (let i = 0; i < 30; i++) { yield body.subarray(0, 8192); await sleep(5) } }
const once = () => new Promise(done => {
  let status, text = ''
  const r = session.request({ ':method': 'POST', ':path': '/upload' })
  r.on('response', head => { status = head[':status'] })
  r.setEncoding('utf8').on('data', part => { text += part })
  r.on('error', e => done(status === undefined ? e : 'after ' + status + ': ' + e))
  r.on('close', () => done(text.includes('"status":401') && r.rstCode === 0 && (how === 'buffer' || r.writableFinished) ? status : 'cut: ' + status + ' ' + r.rstCode + ' ' + r.writableFinished))
  if (how === 'buffer') r.end(body)
  else (how === 'slow' ? Readable.from(slowly()) : createReadStream(file)).pipe(r)
})
;(async () => { for (let i = 0; i < 20; i++) console.log(String(await once())) ; process.exit(0) })()
`
	return func(t *testing.T, url, file string) []string {
		return program(t, script, "node", "-", url, file, how)
	}
}

func curlPostsHTTP2(field string) func(*testing.T, string, string) []string {
	return func(t *testing.T, url, file string) (statuses []string) {
		version := "--http2"
		if strings.HasPrefix(url, "http:") {
			version = "--http2-prior-knowledge"
		}
		for range earlyTimes {
			statuses = append(statuses, program(t, "", "curl", "-sSk", version, "-o", os.DevNull, "-w", "%{http_code}\\n",
				"-X", "POST", "-T", file, "-H", field, "--max-time", "60", url)...)
		}
		return statuses
	}
}
