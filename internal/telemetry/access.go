package telemetry

import (
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// An access line has the shape of the logger's other lines, but is put together here, as an audit line is: a logger's
// fields cost more, and leave more behind, than the line itself.

// A line is a JSON object that is being written.
type line []byte

var lines = sync.Pool{New: func() any { l := make(line, 0, 1<<10); return &l }}

const longestKept = 8 << 10 // a line that was longer leaves its memory to the collector

// Access writes the access line of a finished exchange.
func (l *Log) Access(r *http.Request, x *request.Exchange, end time.Time) {
	if l.buffer == nil {
		return
	}
	room := lines.Get().(*line)
	b := begin((*room)[:0], end, "access", "request")
	b = b.text("request_id", x.ID)
	b = b.some("proxy_request_id", x.ProxyID)
	b = b.some("trace_id", x.Trace.ID())
	b = b.text("method", bounded(r.Method, 32))
	b = b.text("host", x.Host)
	b = b.text("path", x.LogPath)
	b = b.number("proto", int64(r.ProtoMajor))
	b = b.number("status", int64(x.Status()))
	b = b.number("bytes", x.Bytes())
	b = b.milliseconds("ms", end.Sub(x.Start))
	b = b.address("peer", x.Peer)
	if x.Client != x.Peer {
		b = b.address("client", x.Client)
	}
	b = b.some("front", x.Front)
	b = b.some("route", x.Route)
	b = b.some("reason", string(x.Reason))
	b = b.some("detail", x.Detail)
	b = b.some("shadow_reason", string(x.Shadow))
	b = b.some("shadow_detail", x.ShadowDetail)
	b = b.some("issuer", x.Issuer)
	b = b.some("subject", x.Subject)
	b = b.some("client_id", x.ClientID)
	b = b.some("tenant", x.Tenant)
	b = b.some("jti", x.TokenID)
	if x.Entry != nil {
		b = b.entry("entry", x.Entry)
	}
	if x.Upstream != "" {
		b = b.text("upstream", x.Upstream)
		if x.SentPath != "" {
			b = b.text("upstream_path", endpoint.Redact(x.SentPath))
		}
		b = b.milliseconds("upstream_ms", x.Waited)
	}
	if agent := r.Header["User-Agent"]; len(agent) > 0 {
		b = b.some("user_agent", bounded(agent[0], userAgentBytes))
	}
	l.write(room, b)
}

// Refused writes the access line of a request that was refused before its head could be believed: nothing of it is
// known but where it came from.
func (l *Log) Refused(x *request.Exchange) {
	if l.buffer == nil {
		return
	}
	room := lines.Get().(*line)
	b := begin((*room)[:0], time.Now(), "access", "request")
	b = b.text("request_id", x.ID)
	b = b.number("status", int64(x.Reason.Status()))
	b = b.address("peer", x.Peer)
	b = b.text("reason", string(x.Reason))
	b = b.text("detail", x.Detail)
	l.write(room, b)
}

// write ends a line. The failure of a log cannot be logged.
func (l *Log) write(room *line, b line) {
	b = append(b, "}\n"...)
	_, _ = l.buffer.Write(b)
	if l.closed.Load() {
		_ = l.buffer.Sync()
	}
	b.free(room)
}

// free gives the line's memory back.
func (b line) free(room *line) {
	if cap(b) <= longestKept {
		*room = b
		lines.Put(room)
	}
}

func begin(b line, now time.Time, log, message string) line {
	b = append(b, `{"level":"info","ts":"`...)
	b = now.AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	return b.text("log", log).text("msg", message)
}

func (b line) key(key string) line {
	b = append(b, `,"`...)
	b = append(b, key...)
	return append(b, `":`...)
}

// some writes a text unless it is empty.
func (b line) some(key, value string) line {
	if value == "" {
		return b
	}
	return b.text(key, value)
}

func (b line) text(key, value string) line { return strictjson.AppendString(b.key(key), value) }

// entry writes an entry of permissions as its tenant, a space and its actions with commas between them.
func (b line) entry(key string, p *token.TenantPermission) line {
	b = strictjson.AppendString(b.key(key), p.Tenant)
	for i, action := range p.AllowedActions {
		last := len(b) - 1 // the quote that closes what is there; it gives way, and so does the one that opens what comes
		b = strictjson.AppendString(b[:last], action)
		b[last] = " ,"[min(i, 1)]
	}
	return b
}

func (b line) number(key string, n int64) line { return strconv.AppendInt(b.key(key), n, 10) }

// milliseconds keeps the fraction: most requests take less than one.
func (b line) milliseconds(key string, d time.Duration) line {
	us := max(0, d.Microseconds())
	b = strconv.AppendInt(b.key(key), us/1000, 10)
	if us %= 1000; us == 0 {
		return b
	}
	b = append(b, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

func (b line) address(key string, a netip.Addr) line {
	if !a.IsValid() {
		return b
	}
	b = append(b.key(key), '"')
	return append(a.AppendTo(b), '"')
}
