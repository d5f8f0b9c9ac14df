// App is a page and the app behind the gate, in one program on two ports. The page's server knows who its user is (it
// is always alice) and asks the gate for a code in her name, which the page redeems. The app knows nothing of tokens.
package main

import (
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

//go:embed page
var files embed.FS

func main() {
	page := flag.String("page", "127.0.0.1:5173", "the address to serve the page on")
	listen := flag.String("listen", "127.0.0.1:3000", "the address to serve the app on; only the gate reaches it")
	gate := flag.String("gate", "http://localhost:8080", "the gate's URL")
	flag.Parse()
	go serve(*listen, appHandler())
	serve(*page, pageHandler(*gate, os.Getenv("BACKEND_SECRET")))
}

func serve(address string, h http.Handler) {
	server := &http.Server{Addr: address, Handler: h, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// appHandler is the app: an API, events, a WebSocket, a download.
func appHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/{tenant}/orders", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{
			"tenant": r.PathValue("tenant"), "for": r.Header.Get("X-Jotgate-Subject"),
		})
	})
	mux.HandleFunc("/live/{tenant}/events", events)
	mux.HandleFunc("/live/{tenant}/report", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="report.csv"`)
		fmt.Fprintln(w, "order,total")
	})
	echo := websocket.Server{Handshake: choose, Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }}
	mux.Handle("/live/{tenant}/socket", echo)
	mux.Handle("/mine/socket", echo)
	mux.HandleFunc("/mine/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", r.Method, r.Header.Get("X-Jotgate-Subject"))
	})
	return mux
}

// events sends one event and ends, as a proxy or a restart would: the page has to come back.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "retry: 100\ndata: news for %s\n\n", r.Header.Get("X-Jotgate-Subject"))
}

// choose takes the first subprotocol that is offered; the gate has taken the token out.
func choose(c *websocket.Config, _ *http.Request) error {
	if len(c.Protocol) > 0 {
		c.Protocol = c.Protocol[:1]
	}
	return nil
}

// pageHandler serves the page, and codes for its user.
func pageHandler(gate, secret string) http.Handler {
	mux := http.NewServeMux()
	static, _ := fs.Sub(files, "page") // the folder is there, or the program would not build
	mux.Handle("/", http.FileServerFS(static))
	mux.HandleFunc("GET /gate", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, gate) })
	mux.HandleFunc("POST /code", func(w http.ResponseWriter, r *http.Request) {
		code, err := newCode(r, gate, secret, r.FormValue("challenge"))
		if err != nil {
			log.Print(err)
			http.Error(w, "no code", http.StatusBadGateway)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprint(w, code)
	})
	mux.HandleFunc("/sign-in", func(w http.ResponseWriter, r *http.Request) {
		back, err := url.Parse(r.FormValue("return_to"))
		if ours, _ := url.Parse(gate); err != nil || back.Host != ours.Host { // anybody can make such a link
			http.Error(w, "no such page to return to", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "Sign in to go on to %s", back.Path)
	})
	return mux
}

// newCode asks the gate for alice's code, with a token of the server's own.
func newCode(r *http.Request, gate, secret, challenge string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"issue_codes"}}
	var token struct {
		Text string `json:"access_token"`
	}
	err := post(r, gate+"/oauth2/token", "application/x-www-form-urlencoded", form.Encode(), func(q *http.Request) {
		q.SetBasicAuth("backend", secret)
	}, &token)
	if err != nil {
		return "", err
	}
	ask, err := json.Marshal(map[string]string{
		"subject": "alice", "role": "reader", "tenant": "acme", "client_id": "page",
		"code_challenge": challenge, "code_challenge_method": "S256",
	})
	if err != nil {
		return "", err
	}
	var code struct {
		Text string `json:"authorization_code"`
	}
	err = post(r, gate+"/api/v1/authorization-codes", "application/json", string(ask), func(q *http.Request) {
		q.Header.Set("Authorization", "Bearer "+token.Text)
	}, &code)
	return code.Text, err
}

func post(r *http.Request, to, kind, body string, sign func(*http.Request), into any) error {
	q, err := http.NewRequestWithContext(r.Context(), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", kind)
	sign(q)
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode/100 != 2 {
		return errors.New(to + ": " + a.Status)
	}
	return json.NewDecoder(io.LimitReader(a.Body, 1<<20)).Decode(into)
}
