package config

import (
	"fmt"
	"time"
)

// The defaults that do not depend on another setting.
const (
	defaultAdminListen    = "127.0.0.1:9090"
	defaultAdminControl   = "auto"
	defaultReadiness      = Serving
	defaultLogLevel       = "info"
	defaultDrainTimeout   = 30 * time.Second
	defaultTLSMode        = VerifyFull
	defaultSessionName    = "credproxy"
	defaultRefresh        = time.Hour
	defaultGrace          = 90 * time.Second
	defaultMaxStale       = 24 * time.Hour
	defaultBreakGlass     = time.Hour
	defaultMaxConnections = 1000
	defaultLoginTimeout   = 15 * time.Second
	defaultLookupTimeout  = 10 * time.Second
	defaultDialTimeout    = 5 * time.Second
	defaultUpgradeTimeout = 24 * time.Hour
	defaultServerTimeout  = 30 * time.Second
	defaultPoolMode       = PoolOff
	defaultMaxIdle        = 20
	defaultWaitTimeout    = 30 * time.Second
	defaultIdleTimeout    = 10 * time.Minute
	defaultMaxLifetime    = time.Hour
	defaultRole           = AnyRole
	defaultMonitor        = time.Second
	defaultDrain          = 5 * time.Second
	defaultHold           = 30 * time.Second
	defaultMaxLag         = time.Second
	defaultReaderFallback = NoFallback
	defaultInterval       = 5 * time.Minute
	defaultIAMUser        = "app"

	dsqlDatabase = "postgres" // the only one that a cluster of Aurora DSQL has
)

// applyDefaults fills in every field that the file does not set. written reports
// whether a key such as "databases[0].tls.mode" stands in the file: an explicit
// zero or "" is the user's word and stays.
func applyDefaults(c *Config, written func(path string) bool) {
	setDefault(&c.Admin.Listen, defaultAdminListen, written("admin.listen"))
	setDefault(&c.Admin.Control, defaultAdminControl, written("admin.control"))
	setDefault(&c.Admin.Readiness, defaultReadiness, written("admin.readiness"))
	setDefault(&c.Log.Level, defaultLogLevel, written("log.level"))
	setDefault(&c.Shutdown.DrainTimeout, defaultDrainTimeout, written("shutdown.drain_timeout"))
	setDefault(&c.Shutdown.UpgradeTimeout, defaultUpgradeTimeout, written("shutdown.upgrade_timeout"))
	for i := range c.Discover {
		d, at := &c.Discover[i], fmt.Sprintf("discover[%d].", i)
		setDefault(&d.Interval, defaultInterval, written(at+"interval"))
		setDefault(&d.IAMUser, defaultIAMUser, written(at+"iam_user"))
		setDefault(&d.AssumeRole.SessionName, defaultSessionName, d.AssumeRole.SessionName != "")
		applyDatabaseDefaults(&d.Each, func(path string) bool { return written(at + "each." + path) })
	}
	for i := range c.Databases {
		at := fmt.Sprintf("databases[%d].", i)
		applyDatabaseDefaults(&c.Databases[i], func(path string) bool { return written(at + path) })
	}
}

func applyDatabaseDefaults(d *Database, written func(path string) bool) {
	setDefault(&d.TLS.Mode, defaultTLSMode, written("tls.mode"))
	setDefault(&d.Rotation.Refresh, defaultRefresh, written("rotation.refresh"))
	setDefault(&d.Rotation.Grace, defaultGrace, written("rotation.grace"))
	setDefault(&d.Rotation.MaxStale, defaultMaxStale, written("rotation.max_stale"))
	setDefault(&d.BreakGlass.MaxDuration, defaultBreakGlass, written("break_glass.max_duration"))
	setDefault(&d.Limits.MaxConnections, defaultMaxConnections, written("limits.max_connections"))
	setDefault(&d.Limits.LoginTimeout, defaultLoginTimeout, written("limits.login_timeout"))
	setDefault(&d.Limits.LookupTimeout, defaultLookupTimeout, written("limits.lookup_timeout"))
	setDefault(&d.Limits.DialTimeout, defaultDialTimeout, written("limits.dial_timeout"))
	setDefault(&d.Limits.ServerTimeout, defaultServerTimeout, written("limits.server_timeout"))
	setDefault(&d.Pool.Mode, defaultPoolMode, written("pool.mode"))
	setDefault(&d.Pool.MaxIdle, defaultMaxIdle, written("pool.max_idle"))
	setDefault(&d.Pool.WaitTimeout, defaultWaitTimeout, written("pool.wait_timeout"))
	setDefault(&d.Pool.IdleTimeout, defaultIdleTimeout, written("pool.idle_timeout"))
	setDefault(&d.Pool.MaxLifetime, defaultMaxLifetime, written("pool.max_lifetime"))
	setDefault(&d.Role, defaultRole, written("role"))
	setDefault(&d.Failover.Monitor, defaultMonitor, written("failover.monitor"))
	setDefault(&d.Failover.Drain, defaultDrain, written("failover.drain"))
	setDefault(&d.Failover.Hold, defaultHold, written("failover.hold"))
	setDefault(&d.Failover.MaxLag, defaultMaxLag, written("failover.max_lag"))
	setDefault(&d.Failover.ReaderFallback, defaultReaderFallback, written("failover.reader_fallback"))

	// For these an empty string says nothing either.
	if s := d.Credentials.SecretsManager; s != nil {
		setDefault(&s.Region, arnRegion(s.SecretID), s.Region != "")
		setDefault(&s.AssumeRole.SessionName, defaultSessionName, s.AssumeRole.SessionName != "")
	}
	if s := d.Credentials.DSQL; s != nil {
		setDefault(&d.Engine, Postgres, d.Engine != "")
		setDefault(&d.Database, dsqlDatabase, d.Database != "")
		setDefault(&s.Region, dsqlRegion(d.TLS.ServerName), s.Region != "")
		setDefault(&s.Region, dsqlRegion(d.Host), s.Region != "")
		setDefault(&s.AssumeRole.SessionName, defaultSessionName, s.AssumeRole.SessionName != "")
	}
	if s := d.Credentials.IAM; s != nil {
		setDefault(&s.Region, rdsRegion(s.SigningHost), s.Region != "")
		setDefault(&s.Region, rdsRegion(d.Host), s.Region != "")
		setDefault(&s.AssumeRole.SessionName, defaultSessionName, s.AssumeRole.SessionName != "")
	}
}

func setDefault[T any](field *T, value T, written bool) {
	if !written {
		*field = value
	}
}
