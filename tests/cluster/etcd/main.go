// Command etcd is the etcd server as its own project builds it: upstream keeps its main package in a module
// that cannot be required from elsewhere, so these are the lines that start it.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
