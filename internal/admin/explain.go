package admin

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// ExplainPath is where questions about decisions are posted.
const ExplainPath = "/explain"

// questionBytes bounds a question: a token of the largest size, and the headers of a request.
const questionBytes = 256 << 10

// A Question asks how a request would be judged, or what a token alone opens.
type Question struct {
	Request    string      // "GET https://host/path"; "" asks about the token alone
	Headers    http.Header // of the request
	Token      string      // "": the request brings none
	RequestID  string      // of a request that was refused; nothing else is asked then
	Unverified bool        // neither the token's key nor its signature is looked at
	Listener   string      // that the request comes in on; "" is the first one
}

// ParseQuestion reads a question strictly: {"request", "headers": {"Name": "value"}, "token", "unverified",
// "listener"}.
func ParseQuestion(body []byte) (Question, error) {
	q := Question{Headers: http.Header{}}
	err := strictjson.Document(body, func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "request":
			q.Request, err = r.String()
		case "request_id":
			q.RequestID, err = r.String()
		case "token":
			q.Token, err = r.String()
		case "listener":
			q.Listener, err = r.String()
		case "unverified":
			q.Unverified, err = r.Bool()
		case "headers":
			err = r.Object(func(name string) error {
				value, err := r.String()
				q.Headers.Add(name, value)
				return err
			})
		default:
			err = r.Unknown(name)
		}
		return err
	})
	switch {
	case err != nil:
	case q.RequestID != "" && (q.Request != "" || q.Token != "" || q.Listener != "" || len(q.Headers) > 0):
		err = errors.New("request_id asks about a request that was refused: leave out the rest")
	case q.RequestID == "" && q.Request == "" && q.Token == "":
		err = errors.New("neither request nor token is there, nor request_id")
	}
	return q, err
}

// explain serves POST /explain.
func explain(answer func(Question) (any, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		trace, err := answerTo(rw, r, answer)
		if err != nil { // an operator is told what is wrong with the question
			plain(rw, refusal.Of(err).Status(), err.Error()+"\n")
			return
		}
		h := rw.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		e := json.NewEncoder(rw)
		e.SetIndent("", "  ")
		_ = e.Encode(trace) // a client that is gone cannot be told
	}
}

func answerTo(rw http.ResponseWriter, r *http.Request, answer func(Question) (any, error)) (any, error) {
	body, err := readJSON(rw, r, questionBytes)
	if err != nil {
		return nil, err
	}
	q, err := ParseQuestion(body)
	if err != nil {
		return nil, refusal.Because(refusal.BodyInvalid, "%v", err)
	}
	trace, err := answer(q)
	var refused *refusal.Error
	if errors.As(err, &refused) {
		return nil, err
	}
	if err != nil {
		return nil, refusal.Because(refusal.BodyInvalid, "%v", err)
	}
	return trace, nil
}
