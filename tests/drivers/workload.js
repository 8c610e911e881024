// A stand-in for Node-RED: serves HTTP on FLOWSTEAD_LISTEN and does what it is told.
const fs = require('node:fs')
const http = require('node:http')
const { spawn } = require('node:child_process')

const variables = JSON.parse(fs.readFileSync(process.env.FLOWSTEAD_ENV_FILE, 'utf8'))
const commands = {
    '/exit': (argument) => process.exit(Number(argument)),
    '/environment': () => ({ process: process.env, file: variables }),
    '/process': () => ({ pid: process.pid, uid: process.getuid(), cwd: process.cwd(), args: process.execArgv }),
    '/print': (argument) => console.log(argument),
    '/fill': (argument) => { for (let i = 0; i < Number(argument); i++) console.log(`line ${i} ${'x'.repeat(1000)}`) },
    '/loop': (argument) => { for (const end = Date.now() + 1000 * Number(argument); Date.now() < end;); },
    '/detach': (argument) => {
        const child = spawn('setsid', ['env', '-i', ...argument.split(' ')], { detached: true, stdio: 'ignore' })
        child.unref()
    },
    '/pids': () => fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number),
    '/read': (argument) => { try { return fs.readFileSync(argument, 'utf8') } catch (error) { return { error: error.code } } },
}

const server = http.createServer((request, response) => {
    const url = new URL(request.url, 'http://localhost')
    const command = commands[url.pathname]
    const answer = command ? command(url.searchParams.get('argument')) : variables.FLOWSTEAD_INSTANCE_NAME
    response.end(JSON.stringify(answer ?? null))
})

function fillHeap() { for (const kept = []; ;) kept.push(new Array(1000).fill(kept.length)) }

if (variables.FILL_HEAP_AFTER) setTimeout(fillHeap, Number(variables.FILL_HEAP_AFTER))
if (variables.EXIT_AT_ONCE) process.exit(Number(variables.EXIT_AT_ONCE))
process.on('SIGTERM', () => { if (!variables.IGNORE_SIGTERM) process.exit(0) })
fs.rmSync(process.env.FLOWSTEAD_LISTEN, { force: true })
server.listen(process.env.FLOWSTEAD_LISTEN, () => console.log(`${variables.FLOWSTEAD_INSTANCE_NAME} listens`))
