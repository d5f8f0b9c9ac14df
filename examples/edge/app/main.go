// App is a stand-in for the apps behind the edge: it says who it is and what it was asked. It listens on loopback,
// where only the gate reaches it, and takes the caller from the headers that the gate sets.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"
)

func main() {
	name := flag.String("name", "app", "what it calls itself")
	listen := flag.String("listen", "127.0.0.1:3001", "the address to serve on")
	flag.Parse()
	answer := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "%s: %s%s for %s of %s\n", *name, r.Host, r.URL.Path,
			cmp.Or(r.Header.Get("X-Jotgate-Subject"), "anybody"), cmp.Or(r.Header.Get("X-Jotgate-Tenant"), "no tenant"))
	}
	server := &http.Server{Addr: *listen, Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
