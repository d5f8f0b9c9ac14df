// App is a stand-in for the app behind the gate. It knows nothing of tokens: who is calling, and for which tenant, is
// in the headers that the gate sets, and no one else can.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:3000",
		"the address to serve on; loopback, so that only the gate reaches it")
	flag.Parse()
	server := &http.Server{Addr: *listen, Handler: handler(), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /t/{tenant}/orders", orders)
	mux.HandleFunc("GET /about", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a shop") })
	return mux
}

func orders(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "orders of %s, for %s, who may %s\n",
		r.PathValue("tenant"), r.Header.Get("X-Jotgate-Subject"), r.Header.Get("X-Jotgate-Actions"))
}
