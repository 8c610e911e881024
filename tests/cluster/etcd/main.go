// Command etcd is the etcd server, of the version that this module pins. Debian's is too old: with anything before
// 3.4.31 the API server switches consistent reads from its cache off.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
