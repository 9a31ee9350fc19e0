/**
 * Clients made of plain sockets. Thousands of them cost less than the server, and they can
 * misbehave.
 */
import { connect, type Socket } from 'node:net'

/** A server to connect to. */
export interface Target {
  readonly host: string
  readonly port: number
}

export interface Answer {
  readonly status: number
  readonly head: string
  readonly body: Buffer
}

/** A connection with one request at a time. */
export class Client {
  readonly socket: Socket
  #received: Buffer[] = []
  #receivedBytes = 0
  /** The response that is being read, as far as it has arrived. */
  #answerBytes = 0
  #waiting: { resolve(answer: Answer): void; reject(error: Error): void } | undefined

  constructor(target: Target) {
    this.socket = connect({ ...target, noDelay: true })
    this.socket.on('data', (chunk: Buffer) => this.#read(chunk)).on('error', () => {})
    this.socket.once('close', () => this.#waiting?.reject(new Error('closed before the end of an answer')))
  }

  /** @throws {Error} if the connection closes before the end of the response. */
  send(...request: (string | Buffer)[]): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      if (this.socket.destroyed) return reject(new Error('closed before the request'))
      for (const part of request) this.socket.write(part)
    })
  }

  #read(chunk: Buffer): void {
    this.#received.push(chunk)
    this.#receivedBytes += chunk.length
    if (this.#receivedBytes < this.#answerBytes) return
    const bytes = Buffer.concat(this.#received)
    this.#received = [bytes]
    const end = bytes.indexOf('\r\n\r\n')
    if (end === -1) return
    const head = bytes.toString('latin1', 0, end)
    this.#answerBytes = end + 4 + Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
    if (bytes.length < this.#answerBytes) return
    const body = bytes.subarray(end + 4, this.#answerBytes)
    this.#received = []
    this.#receivedBytes = this.#answerBytes = 0
    this.#waiting?.resolve({ status: Number(head.slice(9, 12)), head, body })
    this.#waiting = undefined
  }
}

/** A request without a body. */
export const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`

/** The head of a request with a body. */
export const put = (path: string, length: number) =>
  `PUT ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n`
