package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// The paths of what an operator does with a running gate.
const (
	ReloadPath   = "/reload"
	LogLevelPath = "/log-level"
	profilePath  = "/debug/pprof/"
)

// levelBytes bounds the body that asks for a level.
const levelBytes = 1 << 10

// reload serves POST /reload: 204 when the configuration is in force, 409 with its faults when nothing has changed. The
// body is empty, or {"allow_widening": true}.
func reload(run, widen func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		may, err := widening(w, r)
		if err != nil {
			plain(w, http.StatusBadRequest, fmt.Sprintf("%v\n", err))
			return
		}
		if may {
			err = widen()
		} else {
			err = run()
		}
		if err != nil {
			plain(w, http.StatusConflict, err.Error()+"\n")
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func widening(w http.ResponseWriter, r *http.Request) (may bool, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, levelBytes))
	if err != nil || len(body) == 0 {
		return false, err
	}
	err = strictjson.Document(body, func(r *strictjson.Reader, name string) (err error) {
		if name != "allow_widening" {
			return r.Unknown(name)
		}
		may, err = r.Bool()
		return err
	})
	return may && err == nil, err
}

// A LastReload is what came of the latest reload.
type LastReload struct {
	At  time.Time
	By  string // who asked for it: operator or watch
	Err error  // why it changed nothing; nil: it is in force
}

// lastReload serves GET /reload, so that the faults of a file need not be looked for in the log.
func lastReload(last func() *LastReload) http.HandlerFunc {
	type answer struct {
		Outcome string     `json:"outcome"` // none, done or refused
		At      *time.Time `json:"at,omitempty"`
		By      string     `json:"by,omitempty"`
		Faults  []string   `json:"faults,omitempty"`
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		a := answer{Outcome: "none"}
		if l := last(); l != nil {
			a = answer{Outcome: "done", At: &l.At, By: l.By}
			if l.Err != nil {
				a.Outcome, a.Faults = "refused", strings.Split(l.Err.Error(), "\n")
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(a) // a client that is gone cannot be told
	}
}

// setLevel serves PUT /log-level with {"level": "debug"}: it holds until the next reload, which brings back the file's.
func setLevel(set func(level string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Whatever type it has: curl -d calls every body a form, and no form of a browser can be sent by PUT.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, levelBytes))
		if err != nil {
			err = refusal.Because(refusal.BodyTooLarge, "want at most %d bytes", levelBytes)
			plain(w, refusal.Of(err).Status(), err.Error()+"\n")
			return
		}
		var level string
		err = strictjson.Document(body, func(r *strictjson.Reader, name string) (err error) {
			if name != "level" {
				return r.Unknown(name)
			}
			level, err = r.String()
			return err
		})
		if err == nil {
			err = set(level)
		}
		if err != nil {
			plain(w, http.StatusBadRequest, fmt.Sprintf("%v\n", err))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// profile serves the runtime's profiles (admin.pprof). They show no credentials but what memory holds: a heap profile
// has sizes and places, no contents.
func profile(enabled func() bool) http.HandlerFunc {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+profilePath, pprof.Index)
	mux.HandleFunc("GET "+profilePath+"profile", pprof.Profile)
	mux.HandleFunc("GET "+profilePath+"trace", pprof.Trace)
	mux.HandleFunc("GET "+profilePath+"symbol", pprof.Symbol)
	return func(w http.ResponseWriter, r *http.Request) {
		if !enabled() {
			notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}
}
