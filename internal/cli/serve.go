package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/sdnotify"
	"github.com/jotgate/jotgate/internal/telemetry"
)

func serveCommand() command {
	return command{
		name: "serve", usage: "[--config FILE]", brief: "run the gate (the default)", run: serve,
		help: `Runs the gate in the foreground. Its log goes to standard error, one JSON object per line.

  SIGTERM, SIGINT  graceful shutdown: report not ready, finish in-flight requests, exit. A second signal exits at once.
  SIGHUP           reload the config. A config with faults changes nothing; the log has the outcome. Changed content of
                   the config, or of a file that it names, triggers a reload too, unless the config sets watch: false.

  jotgate serve --config config.yaml
`,
	}
}

func serve(p *Process, c *call) error {
	fromFlag := configFlag(c.FlagSet)
	if err := c.parse(0); err != nil {
		return err
	}
	file, err := p.configFile(*fromFlag)
	if err != nil {
		return err
	}
	settings, err := keyfile.Load(file)
	if err != nil {
		return err
	}
	return p.serve(settings, p.Stderr, untilTold)
}

// untilTold is the story of a gate that only serves.
func untilTold(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// tuneMemory sets how often the heap is collected, and its soft limit, which is taken from the control group. What the
// operator sets by GOGC or GOMEMLIMIT stays.
func tuneMemory(root fs.FS) (limit int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	if os.Getenv("GOGC") == "" {
		followHeap()
	}
	if limit = int64(limitShare * float64(cgroupLimit(root))); limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	return limit
}

// serve serves while story lasts, then drains. The story's context ends at the first SIGTERM or SIGINT.
func (p *Process) serve(settings *config.Config, logTo io.Writer, story func(ctx context.Context) error) (err error) {
	memoryLimit := tuneMemory(os.DirFS("/"))
	ctx, ended := context.WithCancel(context.Background())
	defer ended()
	go giveBackAtRest(ctx)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	// A terminal or a pipe cannot be synced, and says so with an error: only its Write is wanted.
	sink := logTo
	if settings.Log.Format == "text" || settings.Log.Format == "" && atTerminal(logTo) {
		sink = telemetry.Text(logTo)
	}
	log, err := telemetry.NewLog(struct{ io.Writer }{sink}, settings.Log.Level, settings.Log.Access)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if memoryLimit > 0 {
		log.Info("memory limit from the control group", zap.Int64("bytes", memoryLimit))
	}
	// What the standard library says past our loggers becomes a line like any other.
	defer zap.RedirectStdLog(log.Named("std"))()
	s, err := app.New(app.Options{Config: settings, ConfigPath: settings.File, Log: log, Version: p.version()})
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return errors.Join(err, s.Close())
	}
	return (&attendant{
		gate: s, signals: signals, manager: sdnotify.New(p.LookupEnv),
		log: log.Named("systemd"),
	}).attend(story)
}

// An attendant listens to signals while a gate runs, and tells the service manager, if there is one, how it is.
type attendant struct {
	gate    *app.Gate
	signals <-chan os.Signal
	manager *sdnotify.Notifier
	log     *zap.Logger
}

// attend lets story run beside a gate that has started, then drains the gate.
func (a *attendant) attend(story func(ctx context.Context) error) error {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	told := make(chan error, 1)
	go func() { told <- story(ctx) }()
	alive, stop := a.watchdog()
	defer stop()
	a.told(a.manager.Ready("serving"))
	for {
		select {
		case sig := <-a.signals:
			if sig == syscall.SIGHUP {
				a.reload()
			} else {
				end()
			}
		case <-alive:
			a.told(a.manager.Alive())
		case err := <-told:
			return errors.Join(err, a.drain())
		case err := <-a.gate.Failed():
			end()
			return errors.Join(err, <-told, a.gate.Close())
		}
	}
}

func (a *attendant) reload() {
	a.told(a.manager.Reloading())
	status := "serving"
	if err := a.gate.Reload(); err != nil { // the log has it; a config with faults changes nothing
		status = "serving; the latest reload was refused, see the log"
	}
	a.told(a.manager.Ready(status))
}

// drain ends a gate, at once when a second signal comes.
func (a *attendant) drain() error {
	a.told(a.manager.Stopping())
	ctx, closeNow := context.WithCancelCause(context.Background())
	defer closeNow(nil)
	ended, left := make(chan struct{}), make(chan struct{})
	defer func() { close(ended); <-left }()
	alive, stop := a.watchdog()
	defer stop()
	go func() {
		defer close(left)
		for {
			select {
			case sig := <-a.signals:
				if sig != syscall.SIGHUP {
					closeNow(errSecondSignal)
				}
			case <-alive:
				a.told(a.manager.Alive())
			case <-ended:
				return
			}
		}
	}()
	return a.gate.Drain(ctx)
}

// watchdog ticks as often as the service manager wants a sign of life; never without one.
func (a *attendant) watchdog() (alive <-chan time.Time, stop func()) {
	every := a.manager.Watchdog()
	if every == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(every)
	return t.C, t.Stop
}

// told logs a service manager that cannot be reached: the gate serves all the same.
func (a *attendant) told(err error) {
	if err != nil {
		a.log.Warn("the service manager was not told", zap.Error(err))
	}
}

var errSecondSignal = errors.New("a second signal came: what was still going on was cut off")
