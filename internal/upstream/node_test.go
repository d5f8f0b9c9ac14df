package upstream

import (
	"bufio"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/upstream/h1"
)

const nodeApp = `
let posts = 0
const server = require('node:http').createServer((request, answer) => {
  if (request.method === 'POST') posts++
  const text = request.url === '/posts' ? String(posts) : 'ok'
  request.resume().on('end', () => setTimeout(() => answer.end(text), 300))
})
server.keepAliveTimeout = 5000
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
`

// Node ends a connection that is at rest for five seconds, at which requests come all the same: each is answered, and
// no POST comes twice.
func TestNodesKeepAlive(t *testing.T) {
	t.Parallel()
	node := exec.CommandContext(t.Context(), "node", "-e", nodeApp)
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatalf("node (scripts/deps installs it): %v", err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait() // it was killed
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	const clients = 24
	s := settings("http://127.0.0.1:" + strings.TrimSpace(port))
	s.MaxConnections, s.MaxIdle = clients, clients
	p := open(t, s, time.Now)
	var opened, over sync.WaitGroup
	opened.Add(clients)
	for i := range clients {
		over.Go(func() {
			text, err := ask(t.Context(), p, http.MethodGet, "", nil)
			opened.Done()
			opened.Wait() // each has had a connection of its own
			if text != "ok" || err != nil {
				t.Errorf("GET: %q %v", text, err)
			}
			time.Sleep(4700*time.Millisecond + time.Duration(i)*25*time.Millisecond)
			method := []string{http.MethodGet, http.MethodPost}[i%2]
			if text, err := ask(t.Context(), p, method, fmt.Sprint(i), nil); text != "ok" || err != nil {
				t.Errorf("%s after %d ms: %q %v", method, 4700+25*i, text, err)
			}
		})
	}
	over.Wait()
	posts, err := send(t.Context(), p, &h1.Request{Method: http.MethodGet, Target: "/posts", Host: "x"})
	if posts != fmt.Sprint(clients/2) || err != nil {
		t.Errorf("%s POSTs came (%v), want %d", posts, err, clients/2)
	}
}
