// The command grpc is a server and a client of gRPC by the module that most programs use. As a server it answers the
// four kinds of call; as a client it plays them through a gate and says what came of each.
//
//	grpc serve ADDRESS [CERT KEY]      serves, and its health service
//	grpc play ADDRESS TOKEN NARROW     plays; NARROW is a token that the service refuses
//	grpc interop-serve ADDRESS [CERT KEY]
//	grpc interop ADDRESS TOKEN [CA]    grpc-go's own interoperability server and tests
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// raw is a codec of bytes, so that no generated code is needed.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return bytes.Clone(*v.(*[]byte)), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (raw) Name() string                       { return "raw" }

func main() {
	encoding.RegisterCodec(raw{})
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 2 && args[0] == "serve":
		return serve(args[1], args[2:])
	case len(args) == 4 && args[0] == "play":
		return play(args[1], args[2], args[3])
	case len(args) >= 2 && args[0] == "interop-serve":
		return serveInterop(args[1], args[2:])
	case len(args) >= 3 && args[0] == "interop":
		return playInterop(args[1], args[2], args[3:])
	}
	return errors.New("usage: grpc serve|interop-serve ADDRESS … | grpc play|interop ADDRESS TOKEN …")
}

// canceled counts calls whose context ended before they did.
var canceled atomic.Int32

func serve(address string, pair []string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	options, err := secured(pair)
	if err != nil {
		return err
	}
	s := grpc.NewServer(append(options, grpc.ForceServerCodec(mixed{}), grpc.MaxRecvMsgSize(8<<20))...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Download", Handler: download, ServerStreams: true},
			{StreamName: "Upload", Handler: upload, ClientStreams: true},
			{StreamName: "Both", Handler: both, ServerStreams: true, ClientStreams: true},
		},
	}, struct{}{})
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	fmt.Println("serving", l.Addr())
	return s.Serve(l)
}

// mixed has the health service's messages beside raw bytes.
type mixed struct{}

func (mixed) Name() string { return "mixed" }

func (mixed) Marshal(v any) ([]byte, error) {
	if b, ok := v.(*[]byte); ok {
		return bytes.Clone(*b), nil
	}
	buffers, err := encoding.GetCodecV2("proto").Marshal(v)
	if err != nil {
		return nil, err
	}
	return buffers.Materialize(), nil
}

func (mixed) Unmarshal(data []byte, v any) error {
	if b, ok := v.(*[]byte); ok {
		*b = bytes.Clone(data)
		return nil
	}
	return unmarshalProto(data, v)
}

func unary(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in []byte
	if err := decode(&in); err != nil {
		return nil, err
	}
	switch word := string(in); {
	case word == "who":
		md, _ := metadata.FromIncomingContext(ctx)
		out := []byte(strings.Join(md.Get("x-jotgate-subject"), ",") + " " + fmt.Sprint(len(md.Get("authorization"))))
		return &out, nil
	case word == "fail":
		return nil, status.Error(codes.FailedPrecondition, "no: é\n%")
	case word == "cancel":
		return nil, status.Error(codes.Canceled, "by the server")
	case word == "wait":
		deadline, has := ctx.Deadline()
		<-ctx.Done()
		if has && time.Until(deadline) < time.Second {
			canceled.Add(1)
		}
		return nil, ctx.Err()
	case word == "canceled":
		out := fmt.Append(nil, canceled.Load())
		return &out, nil
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "t", "data-bin", "\x00\xff"))
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-header", "h"))
	return &in, nil
}

func download(_ any, s grpc.ServerStream) error {
	var in []byte
	if err := s.RecvMsg(&in); err != nil {
		return err
	}
	out := bytes.Repeat([]byte("x"), 64<<10)
	for i := range 64 {
		out[0] = byte(i)
		if err := s.SendMsg(&out); err != nil {
			canceled.Add(1)
			return err
		}
	}
	if string(in) == "endless" {
		<-s.Context().Done()
		canceled.Add(1)
	}
	return nil
}

func upload(_ any, s grpc.ServerStream) error {
	total := 0
	for {
		var in []byte
		switch err := s.RecvMsg(&in); err {
		case nil:
			switch total += len(in); string(in) {
			case "stop":
				return status.Error(codes.ResourceExhausted, "enough")
			case "slowly": // what follows waits for the window
				time.Sleep(300 * time.Millisecond)
			}
		case io.EOF:
			out := fmt.Append(nil, total)
			return s.SendMsg(&out)
		default:
			return err
		}
	}
}

// both speaks first, and then echoes.
func both(_ any, s grpc.ServerStream) error {
	hello := []byte("hello")
	if err := s.SendMsg(&hello); err != nil {
		return err
	}
	for {
		var in []byte
		if err := s.RecvMsg(&in); err == io.EOF {
			return nil
		} else if err != nil {
			canceled.Add(1)
			return err
		}
		if err := s.SendMsg(&in); err != nil {
			return err
		}
	}
}

type player struct {
	conn  *grpc.ClientConn
	token string
}

// context has no deadline, so that a call that hangs is seen.
func (p *player) context() context.Context {
	ctx := context.Background()
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+p.token)
}

func (p *player) unary(ctx context.Context, word string, options ...grpc.CallOption) (string, error) {
	in, out := []byte(word), []byte(nil)
	err := p.conn.Invoke(ctx, "/test.Echo/Unary", &in, &out, append(options, grpc.ForceCodec(raw{}))...)
	return string(out), err
}

func (p *player) stream(ctx context.Context, name string) (grpc.ClientStream, error) {
	return p.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/"+name,
		grpc.ForceCodec(raw{}))
}

func play(address, token, narrow string) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(8<<20)))
	if err != nil {
		return err
	}
	p := &player{conn, token}
	for _, part := range []struct {
		name string
		play func(*player) error
	}{
		{"unary", playUnary},
		{"errors", playErrors},
		{"download", playDownload},
		{"upload", playUpload},
		{"both", playBoth},
		{"deadline", playDeadline},
		{"cancel", playCancel},
		{"many", playMany},
		{"large", playLarge},
		{"silent", playSilent},
		{"refusals", func(p *player) error { return playRefusals(p, narrow) }},
	} {
		if err := part.play(p); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Println(part.name, "ok")
	}
	return nil
}

func playUnary(p *player) error {
	var header, trailer metadata.MD
	got, err := p.unary(p.context(), "hi", grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil || got != "hi" || header.Get("x-header")[0] != "h" || trailer.Get("x-trailer")[0] != "t" ||
		trailer.Get("data-bin")[0] != "\x00\xff" {
		return fmt.Errorf("%q %v, head %v, trailers %v", got, err, header, trailer)
	}
	if got, err = p.unary(p.context(), "who"); err != nil || got != "alice 0" {
		return fmt.Errorf("who: %q %v", got, err)
	}
	return nil
}

// playErrors: an answer that consists of trailers alone.
func playErrors(p *player) error {
	_, err := p.unary(p.context(), "fail")
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "no: é\n%" {
		return fmt.Errorf("%v", err)
	}
	_, err = p.unary(p.context(), "cancel")
	if s := status.Convert(err); s.Code() != codes.Canceled || s.Message() != "by the server" {
		return fmt.Errorf("canceled by the server: %v", err)
	}
	return nil
}

func playDownload(p *player) error {
	s, err := p.stream(p.context(), "Download")
	if err != nil {
		return err
	}
	in := []byte("x")
	if err := s.SendMsg(&in); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	time.Sleep(200 * time.Millisecond) // a slow reader: 4 MiB wait for the window
	for i := range 64 {
		var out []byte
		if err := s.RecvMsg(&out); err != nil || len(out) != 64<<10 || out[0] != byte(i) {
			return fmt.Errorf("message %d: %d bytes, %v", i, len(out), err)
		}
	}
	var out []byte
	if err := s.RecvMsg(&out); err != io.EOF {
		return fmt.Errorf("the end: %v", err)
	}
	return nil
}

func playUpload(p *player) error {
	s, err := p.stream(p.context(), "Upload")
	if err != nil {
		return err
	}
	in, slowly := bytes.Repeat([]byte("x"), 64<<10), []byte("slowly")
	if err := s.SendMsg(&slowly); err != nil {
		return err
	}
	for range 64 {
		if err := s.SendMsg(&in); err != nil {
			return err
		}
	}
	var out []byte
	if err := errors.Join(s.CloseSend(), s.RecvMsg(&out)); err != nil ||
		string(out) != fmt.Sprint(len(slowly)+64*len(in)) {
		return fmt.Errorf("%q %v", out, err)
	}
	// The server ends before the client does.
	if s, err = p.stream(p.context(), "Upload"); err != nil {
		return err
	}
	stop := []byte("stop")
	if err := s.SendMsg(&stop); err != nil {
		return err
	}
	if err := s.RecvMsg(&out); status.Code(err) != codes.ResourceExhausted {
		return fmt.Errorf("an early end: %v", err)
	}
	return nil
}

func playBoth(p *player) error {
	s, err := p.stream(p.context(), "Both")
	if err != nil {
		return err
	}
	var out []byte
	if err := s.RecvMsg(&out); err != nil || string(out) != "hello" { // before anything was sent
		return fmt.Errorf("%q %v", out, err)
	}
	for i := range 100 {
		in := fmt.Append(nil, i)
		if err := errors.Join(s.SendMsg(&in), s.RecvMsg(&out)); err != nil || !bytes.Equal(in, out) {
			return fmt.Errorf("message %d: %q %v", i, out, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if err := s.RecvMsg(&out); err != io.EOF {
		return fmt.Errorf("the end: %v", err)
	}
	return nil
}

// canceledAt waits until the server has seen so many calls end early.
func (p *player) canceledAt(n int) error {
	for range 1000 {
		got, err := p.unary(p.context(), "canceled")
		if err != nil {
			return err
		}
		if got == fmt.Sprint(n) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the server does not see it")
}

func playDeadline(p *player) error {
	ctx, cancel := context.WithTimeout(p.context(), 300*time.Millisecond)
	defer cancel()
	if _, err := p.unary(ctx, "wait"); status.Code(err) != codes.DeadlineExceeded {
		return err
	}
	return p.canceledAt(1)
}

func playCancel(p *player) error {
	ctx, cancel := context.WithCancel(p.context())
	defer cancel()
	s, err := p.stream(ctx, "Download")
	if err != nil {
		return err
	}
	in, out := []byte("endless"), []byte(nil)
	if err := errors.Join(s.SendMsg(&in), s.CloseSend(), s.RecvMsg(&out)); err != nil {
		return err
	}
	cancel()
	if err := p.canceledAt(2); err != nil {
		return err
	}
	ctx, cancel = context.WithCancel(p.context())
	if s, err = p.stream(ctx, "Both"); err != nil {
		cancel()
		return err
	}
	err = s.RecvMsg(&out)
	cancel()
	return errors.Join(err, p.canceledAt(3))
}

// playMany has a thousand streams open at once.
func playMany(p *player) error {
	var streams []grpc.ClientStream
	var out []byte
	for i := range 1000 {
		conn := p.conn
		s, err := (&player{conn, p.token}).stream(p.context(), "Both")
		if err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
		streams = append(streams, s)
	}
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for i, s := range streams {
		all.Go(func() {
			var out []byte
			in := fmt.Append(nil, i)
			err := errors.Join(s.RecvMsg(&out), s.SendMsg(&in), s.RecvMsg(&out))
			if err == nil && !bytes.Equal(in, out) {
				err = fmt.Errorf("stream %d got %q", i, out)
			}
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	for _, s := range streams {
		if err := s.CloseSend(); err != nil {
			return err
		}
		if err := s.RecvMsg(&out); err != io.EOF {
			return err
		}
	}
	return nil
}

// playSilent is longer silent than the gate lets other bodies be.
func playSilent(p *player) error {
	s, err := p.stream(p.context(), "Both")
	if err != nil {
		return err
	}
	var out []byte
	if err := s.RecvMsg(&out); err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	in := []byte("still there")
	if err := errors.Join(s.SendMsg(&in), s.RecvMsg(&out), s.CloseSend()); err != nil || !bytes.Equal(in, out) {
		return fmt.Errorf("%q %v", out, err)
	}
	return nil
}

func playLarge(p *player) error {
	word := strings.Repeat("large ", 1<<20)
	got, err := p.unary(p.context(), word)
	if err != nil || got != word {
		return fmt.Errorf("%d bytes, %v", len(got), err)
	}
	_, err = p.unary(p.context(), strings.Repeat("x", 9<<20))
	if status.Code(err) != codes.ResourceExhausted {
		return fmt.Errorf("over the server's limit: %v", err)
	}
	_, err = p.unary(p.context(), word, grpc.MaxCallRecvMsgSize(len(word)-1))
	if status.Code(err) != codes.ResourceExhausted {
		return fmt.Errorf("over the client's limit: %v", err)
	}
	if got, err = p.unary(p.context(), "hi"); err != nil || got != "hi" {
		return fmt.Errorf("afterwards: %q %v", got, err)
	}
	return nil
}

func playRefusals(p *player, narrow string) error {
	for _, c := range []struct {
		token, method string
		want          codes.Code
	}{
		{"nonsense", "/test.Echo/Unary", codes.Unauthenticated},
		{narrow, "/test.Echo/Unary", codes.PermissionDenied},
		{p.token, "/test.Other/Unary", codes.Unimplemented},
		{p.token, "/test.Gone/Unary", codes.Unavailable},
	} {
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+c.token)
		in, out := []byte("x"), []byte(nil)
		err := p.conn.Invoke(ctx, c.method, &in, &out, grpc.ForceCodec(raw{}))
		if status.Code(err) != c.want || !strings.Contains(status.Convert(err).Message(), "request_id ") {
			return fmt.Errorf("%s: %v, want %v", c.method, err, c.want)
		}
	}
	return nil
}
