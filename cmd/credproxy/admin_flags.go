package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/admin/client"
	"github.com/credproxy/credproxy/config"
)

// findingAdmin is the part of the help about where the admin server is.
const findingAdmin = `The running credproxy is found at --admin, else at the admin.listen that it runs
with: CREDPROXY_ADMIN_LISTEN, the configuration file's (-c), or 127.0.0.1:9090.`

// adminFlags gives a command the flags that say where the admin server is, and
// returns what makes the client.
func adminFlags(cmd *cobra.Command) func() (*client.Client, error) {
	var address, file string
	cmd.Flags().StringVar(&address, "admin", "", "address of the running credproxy's admin server, as host:port")
	configFlag(cmd, &file)
	return func() (*client.Client, error) {
		from := origin(cmd.Flags().Lookup("admin"))
		if address == "" {
			var err error
			if address, from, err = adminListen(file); err != nil {
				return nil, usageError{err}
			}
			if address == "" {
				return nil, usageError{fmt.Errorf("%s turns the admin server off, so a running credproxy cannot be asked", from)}
			}
		}
		c, err := client.New(address, from)
		if err != nil {
			return nil, usageError{err}
		}
		return c, nil
	}
}

// adminListen returns the address that run listens on, and what says so.
func adminListen(file string) (address, from string, err error) {
	const key = "admin.listen"
	for _, s := range config.Settings() {
		if s.Key != key {
			continue
		}
		if address, given := os.LookupEnv(s.Env()); given {
			return address, s.Env(), nil
		}
		address, from = s.Default, "the default"
	}
	if file != "" {
		address, err = config.AdminListen(file)
		from = key + " of " + file
	}
	return address, from, err
}
